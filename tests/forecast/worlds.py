"""Small made-up worlds of passes over blocks, whose next logits follow from what is seen."""

import numpy as np

from hwsearch.forecast.passes import BlockPasses

VOCAB, WIDTH, BLOCK, MASK = 23, 6, 8, 22


class World:
    """Blocks of a made-up model; `change` says how logits of a mask go from one pass to the next."""

    def __init__(self, seed=0, passes=3, embedding_width=5):
        self.rng = np.random.default_rng(seed)
        self.passes = passes
        self.embeddings = self.rng.normal(size=(VOCAB, embedding_width)).astype(np.float32)
        self.head = self.rng.normal(size=(WIDTH, VOCAB))
        self.left = self.rng.normal(size=(embedding_width, VOCAB))
        self.state = self.rng.normal(size=(WIDTH, VOCAB))

    def change(self, index, position, hidden, tokens, written):
        """By default a sum of what the hidden state and the nearest token to the left say."""
        change = hidden[position] @ self.state + 1.5
        before = [place for place in written if place < position]
        if before:
            change = change + self.embeddings[tokens[before[-1]]] @ self.left
        return change

    def block(self):
        """Half of the masks are written by each pass, the last of them by none."""
        rng = self.rng
        tokens = np.full((self.passes, BLOCK), MASK)
        masked = np.ones((self.passes, BLOCK), dtype=bool)
        logits = np.zeros((self.passes, BLOCK, VOCAB), dtype=np.float32)
        hidden = rng.normal(size=(self.passes, BLOCK, WIDTH)).astype(np.float32)
        logits[0] = hidden[0] @ self.head
        for index in range(1, self.passes):
            tokens[index], masked[index] = tokens[index - 1], masked[index - 1]
            open_ = np.flatnonzero(masked[index])
            written = np.sort(rng.choice(open_, max(1, len(open_) // 2), replace=False))
            tokens[index, written] = rng.integers(0, VOCAB - 1, len(written))
            masked[index, written] = False
            logits[index] = logits[index - 1]
            for position in np.flatnonzero(masked[index]):
                logits[index, position] += self.change(
                    index, position, hidden[index - 1], tokens[index], written
                )
        return BlockPasses(tokens, masked, logits, hidden)

    def blocks(self, count):
        return [self.block() for _ in range(count)]


class Noise(World):
    """Nothing that is seen tells of the change."""

    def change(self, index, position, hidden, tokens, written):
        return 3.0 * self.rng.normal(size=VOCAB)


class Fading(World):
    """The first change is anything, and each of the others .5 of the one before."""

    def block(self):
        block = super().block()
        logits = block.logits
        logits[1] = logits[0] + self.rng.normal(size=logits[0].shape)
        for index in range(2, self.passes):
            logits[index] = logits[index - 1] + 0.5 * (logits[index - 1] - logits[index - 2])
        return block


class Switching(World):
    """One number of the state says which of two changes it is: no sum tells them apart."""

    def change(self, index, position, hidden, tokens, written):
        direction = self.state[0] if abs(hidden[position, 0]) < 0.7 else -self.state[1]
        return 4.0 * direction + 0.3 * hidden[position, 0] * self.state[2]


class Copying(World):
    """A mask repeats the token two before it, the more the larger the first number of its state."""

    def change(self, index, position, hidden, tokens, written):
        change = np.zeros(VOCAB)
        if position >= 2 and tokens[position - 2] != MASK:
            change[tokens[position - 2]] += 5.0 + 2.0 * hidden[position, 0]
        return change


def play(fitted, block, index):
    """What a forecaster foresees after pass `index` of a block, ``[block, vocab]``, and its trust."""
    forecaster = fitted.forecaster()
    forecaster.begin()
    for seen in range(index + 1):
        hidden = None if block.hidden is None else block.hidden[seen : seen + 1]
        forecaster.see(block.logits[seen : seen + 1], hidden, block.masked[seen : seen + 1])
    tokens, masked = block.tokens[index + 1 :][:1], block.masked[index + 1 :][:1]
    found = forecaster.foresee(tokens, masked)
    return found.logits[0], bool(found.trusted[0])
