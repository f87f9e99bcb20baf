import numpy as np
import pytest

from hwsearch.decoding.backend import Prediction
from hwsearch.decoding.committing.schedule import passes
from hwsearch.decoding.sampler import generate, generation
from hwsearch.plan import Decoding

MASK = 0


class Scripted:
    """Predicts token = position + 1, with confidences that are handed in, and keeps a log."""

    def __init__(self, confidence):
        self.confidence = np.asarray(confidence, dtype=np.float32)
        self.log = []

    def begin(self):
        self.log.append("begin")

    def refresh(self, tokens, start, stop):
        return self._predict("refresh", tokens, start, stop)

    def step(self, tokens, start, stop):
        return self._predict("step", tokens, start, stop)

    def _predict(self, kind, tokens, start, stop):
        self.log.append((kind, start, stop, tokens.copy()))
        batch = tokens.shape[0]
        predicted = np.tile(np.arange(start, stop) + 1, (batch, 1))
        return Prediction(predicted, np.tile(self.confidence[start:stop], (batch, 1)))


def decoding(gen, block, steps, interval):
    return Decoding(gen_length=gen, block_length=block, steps=steps, refresh_interval=interval)


def test_most_confident_first_and_never_changed():
    backend = Scripted([0, 0, 0.1, 0.9, 0.5, 0.7])
    out = generate(backend, np.array([[7, 7]]), decoding(4, 4, 4, 4), MASK)
    assert out.tolist() == [[7, 7, 3, 4, 5, 6]]
    blocks = [entry[3][0, 2:].tolist() for entry in backend.log[1:]]
    assert blocks == [[0, 0, 0, 0], [0, 4, 0, 0], [0, 4, 0, 6], [0, 4, 5, 6]]


def test_blocks_left_to_right_with_refreshes_at_the_interval():
    backend = Scripted(np.ones(10))
    generate(backend, np.array([[7, 7]]), decoding(8, 4, 6, 2), MASK)
    kinds = [entry[:3] for entry in backend.log[1:]]
    assert kinds == [
        ("refresh", 2, 6), ("step", 2, 6), ("refresh", 2, 6),
        ("refresh", 6, 10), ("step", 6, 10), ("refresh", 6, 10),
    ]  # fmt: skip


def test_rows_of_a_batch_are_independent():
    class PerRow(Scripted):
        def _predict(self, kind, tokens, start, stop):
            found = super()._predict(kind, tokens, start, stop)
            found.confidence[1] = found.confidence[1][::-1]
            return found

    backend = PerRow([0, 0.1, 0.2, 0.3, 0.4])
    generate(backend, np.array([[7], [7]]), decoding(4, 4, 4, 4), MASK)
    after_first = backend.log[2][3]
    assert after_first[0].tolist() == [7, 0, 0, 0, 5]
    assert after_first[1].tolist() == [7, 2, 0, 0, 0]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 8])
def test_quotas_fill_a_block_exactly_front_loaded(steps):
    quotas = [step.quota for step in passes(decoding(8, 8, steps, 1))]
    assert sum(quotas) == 8
    assert quotas == sorted(quotas, reverse=True)
    assert max(quotas) - min(quotas) <= 1


def test_prompt_tokens_that_equal_the_mask_are_left_alone():
    out = generate(Scripted(np.ones(4)), np.array([[MASK, 7]]), decoding(2, 2, 1, 1), MASK)
    assert out.tolist() == [[MASK, 7, 3, 4]]


def test_whoever_watches_sees_the_tokens_after_each_pass():
    seen = []
    backend = Scripted([0, 0, 0.1, 0.9, 0.5, 0.7, 0.2, 0.3])
    found = generation(
        backend,
        np.array([[7, 7]]),
        decoding(6, 2, 6, 4),
        MASK,
        on_pass=lambda tokens, record: seen.append((tokens[0, 2:].tolist(), record)),
    )
    assert [tokens for tokens, _ in seen] == [
        [0, 4, 0, 0, 0, 0], [3, 4, 0, 0, 0, 0],
        [3, 4, 0, 6, 0, 0], [3, 4, 5, 6, 0, 0],
        [3, 4, 5, 6, 0, 8], [3, 4, 5, 6, 7, 8],
    ]  # fmt: skip
    assert tuple(record for _, record in seen) == found.passes


def test_a_batch_that_is_written_sample_by_sample_is_watched_so():
    asked = Decoding(
        gen_length=4, block_length=4, refresh_interval=2, commit={"policy": "threshold"}
    )
    shapes = []
    generation(
        Scripted(np.full(6, 0.5)),
        np.array([[7, 7], [8, 8]]),
        asked,
        MASK,
        on_pass=lambda tokens, record: shapes.append((tokens.shape, int(tokens[0, 0]))),
    )
    assert shapes == [((1, 6), 7)] * 4 + [((1, 6), 8)] * 4
