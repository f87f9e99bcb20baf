"""The block-wise sampler: one loop for every schedule, commit policy and cache."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.backend import GREEDY, Backend, Prediction, Sampling, Tokens
from hwsearch.decoding.batches import Blank
from hwsearch.decoding.committing.committers import committer_of
from hwsearch.decoding.committing.foreseeing import Draft, foreseeing_of
from hwsearch.decoding.passes import PassCall, PassKind, PassRecord, pass_kind
from hwsearch.plan import Decoding

Mask = NDArray[np.bool_]

#: Told of a pass: the tokens as they stand after it, ``[batch, length]``, prompt and masks included, and
#: what it was. The tokens change with the next pass: whoever keeps them copies them.
OnPass = Callable[[Tokens, PassRecord], None]


def advancing(advance: Callable[[float], None]) -> OnPass:
    """Tells how many samples each pass ran, to whoever shows how far a generation is."""
    return lambda tokens, _record: advance(len(tokens))


@dataclass(frozen=True, eq=False)
class Generation:
    """What was written, and in which passes.

    Attributes:
        tokens: ``[batch, prompt_length + gen_length + suffix_length]``, all that was given included.
        written: the pass that wrote each token, counted for each sample from 0, ``[batch, gen_length]``;
            -1 for those that none wrote because the answer had ended.
        passes: every pass, in order.
        suffix_length: tokens that were given behind the blank.
        foreseen: the tokens that a forecast named, ``[batch, gen_length]``; None where nothing is foreseen.
        confirmed: those of them that a pass then wrote alike. They are all of `foreseen`, unverified,
            where a decoding does not verify its forecasts.
    """

    tokens: Tokens
    written: NDArray[np.int64]
    passes: tuple[PassRecord, ...]
    suffix_length: int = 0
    foreseen: Mask | None = None
    confirmed: Mask | None = None

    @property
    def blank(self) -> Blank:
        """Where the written tokens stand."""
        stop = self.tokens.shape[1] - self.suffix_length
        return Blank(stop - self.written.shape[1], stop)


def generate(
    backend: Backend,
    prompts: Tokens,
    decoding: Decoding,
    mask_token_id: int,
    *,
    seed: int = 0,
    end_tokens: Collection[int] = (),
    suffixes: Tokens | None = None,
) -> Tokens:
    """Write `decoding.gen_length` tokens after each prompt; see `generation`.

    Returns:
        Tokens ``[batch, prompt_length + gen_length + suffix_length]``, all that was given included.
    """
    return generation(
        backend,
        prompts,
        decoding,
        mask_token_id,
        seed=seed,
        end_tokens=end_tokens,
        suffixes=suffixes,
    ).tokens


def generation(
    backend: Backend,
    prompts: Tokens,
    decoding: Decoding,
    mask_token_id: int,
    *,
    seed: int = 0,
    end_tokens: Collection[int] = (),
    on_pass: OnPass | None = None,
    suffixes: Tokens | None = None,
) -> Generation:
    """Write `decoding.gen_length` tokens after each prompt, and tell by which passes.

    The generated part starts as masks. Block by block, each pass predicts the block's masks and
    writes those that schedule or policy choose; written tokens never change (arXiv 2502.09992,
    Algorithm 5; arXiv 2508.15487). A sample whose block is full waits for the others of its batch.
    Where there are suffixes the generated part is a blank between two texts: suffixes are seen and
    cached as prompts are, and never written.

    Args:
        backend: the model.
        prompts: ``[batch, prompt_length]``; all prompts of a batch have one length.
        decoding: lengths, schedule or policy, and how the cache is kept.
        mask_token_id: the token that stands for "not written yet".
        seed: of all chance, where the rule or a temperature leaves anything to it. A row's draws
            depend on its place in the batch.
        end_tokens: tokens that end an answer, for a decoding that stops at them.
        on_pass: called after each pass; with one sample at a time where a batch is written so.
        suffixes: tokens that follow what is written, ``[batch, suffix_length]``; None for none.

    Raises:
        ValueError: the decoding stops at end tokens, and none are given.
        InputError: the backend cannot decode that way.
    """
    if decoding.stop_at_end and not end_tokens:
        raise ValueError("stop_at_end needs the tokens that end an answer")
    batch = len(prompts)
    behind = np.zeros((batch, 0), dtype=np.int64) if suffixes is None else suffixes
    if batch > 1 and _refreshes_by_text(decoding):
        return _one_by_one(
            backend, prompts, decoding, mask_token_id, seed, end_tokens, on_pass, behind
        )
    masks = np.full((batch, decoding.gen_length), mask_token_id, dtype=np.int64)
    tokens = np.concatenate((prompts.astype(np.int64), masks, behind.astype(np.int64)), axis=1)
    blank = Blank(prompts.shape[1], prompts.shape[1] + decoding.gen_length)
    sampling = Sampling.of(decoding, seed)
    backend.begin() if sampling == GREEDY else backend.begin(sampling=sampling)
    rng = np.random.default_rng((seed, 1))
    writer = _Writer(backend, tokens, blank, decoding, mask_token_id, rng, on_pass)
    if decoding.window.slide:
        writer.write_sliding(end_tokens)
        return writer.generation()
    running = np.ones(batch, dtype=bool)
    for start in range(blank.start, blank.stop, decoding.block_length):
        writer.write_block(start, is_first=start == blank.start, running=running)
        if decoding.stop_at_end:
            stop = start + decoding.block_length
            running = running & ~_ended(tokens, start, stop, end_tokens, blank)
            if not running.any():
                break
    return writer.generation()


def _refreshes_by_text(decoding: Decoding) -> bool:
    """Whether samples of a batch may come to their blocks or refreshes at different times.

    What a layer keeps depends on the refreshes it has seen, so such samples cannot share them.
    """
    if decoding.window.slide:
        return True
    return decoding.commit is not None and 1 < decoding.refresh_interval < decoding.block_length


def _one_by_one(
    backend: Backend,
    prompts: Tokens,
    decoding: Decoding,
    mask_token_id: int,
    seed: int,
    end_tokens: Collection[int],
    on_pass: OnPass | None,
    suffixes: Tokens,
) -> Generation:
    """A batch sample by sample, each with draws of its own."""
    found: list[Generation] = []
    passes: list[PassRecord] = []
    for row in range(len(prompts)):
        own = np.arange(len(prompts)) == row
        one = generation(
            backend,
            prompts[row : row + 1],
            decoding,
            mask_token_id,
            seed=seed + row,
            end_tokens=end_tokens,
            on_pass=on_pass,
            suffixes=suffixes[row : row + 1],
        )
        found.append(one)
        passes += [replace(record, active=own) for record in one.passes]
    foreseen = [one.foreseen for one in found if one.foreseen is not None]
    confirmed = [one.confirmed for one in found if one.confirmed is not None]
    return Generation(
        np.concatenate([one.tokens for one in found]),
        np.concatenate([one.written for one in found]),
        tuple(passes),
        suffixes.shape[1],
        np.concatenate(foreseen) if foreseen else None,
        np.concatenate(confirmed) if confirmed else None,
    )


class _Writer:
    """Fills the blocks of a batch of sequences, in place."""

    def __init__(
        self,
        backend: Backend,
        tokens: Tokens,
        blank: Blank,
        decoding: Decoding,
        mask_token_id: int,
        rng: np.random.Generator,
        on_pass: OnPass | None,
    ) -> None:
        self._backend = backend
        self._tokens = tokens
        self._blank = blank
        self._decoding = decoding
        self._mask = mask_token_id
        self._committer = committer_of(decoding, rng)
        self._on_pass = on_pass
        self._count = np.zeros(len(tokens), dtype=np.int64)
        self.passes: list[PassRecord] = []
        self.written = np.full(tokens.shape, -1, dtype=np.int64)
        self._foreseeing = foreseeing_of(decoding, backend)
        self._draft: Draft | None = None
        self._foreseen, self._confirmed = (np.zeros(tokens.shape, dtype=bool) for _ in range(2))

    def write_block(self, start: int, is_first: bool, running: Mask) -> None:
        """Pass over a block until it takes no more; samples that do not run are left alone."""
        decoding, tokens = self._decoding, self._tokens
        place = np.s_[:, start : start + decoding.block_length]
        block, written = tokens[place], self.written[place]
        self._committer.begin()
        if self._foreseeing is not None:
            self._foreseeing.begin()
            self._draft = None
        index, masked = 0, self._masked(block, written, running)
        while not self._committer.is_done(index, masked):
            kind = pass_kind(decoding, index, is_first)
            active = running if decoding.commit is None else _any(masked)
            self._pass(self._call(kind, start), masked, active)
            index, masked = index + 1, self._masked(block, written, running)

    def write_sliding(self, end_tokens: Collection[int]) -> None:
        """Fill one sequence with a block that begins at the first mask."""
        decoding, blank = self._decoding, self._blank
        self._committer.begin()
        index = 0
        while (open_ := np.flatnonzero(self.written[0, blank.place] < 0)).size:
            start = min(blank.start + int(open_[0]), blank.stop - decoding.block_length)
            if decoding.stop_at_end:
                ended = _ended(self._tokens, blank.start, start, end_tokens, blank)
                if ended.all():
                    return
            call = self._call(pass_kind(decoding, index, index == 0), start)
            self._pass(call, self.written[:, start : call.stop] < 0, np.ones(1, dtype=bool))
            index += 1

    def generation(self) -> Generation:
        """What was written."""
        written, behind = self.written[:, self._blank.place], self._suffix_length
        if self._foreseeing is None:
            return Generation(self._tokens, written, tuple(self.passes), behind)
        told = [mask[:, self._blank.place] for mask in (self._foreseen, self._confirmed)]
        return Generation(self._tokens, written, tuple(self.passes), behind, *told)

    @property
    def _suffix_length(self) -> int:
        return self._tokens.shape[1] - self._blank.stop

    def _call(self, kind: PassKind, start: int) -> PassCall:
        """A pass over the block that begins at `start`."""
        length = self._tokens.shape[1]
        return PassCall.of(self._decoding, kind, start, length, self._suffix_length)

    def _pass(self, call: PassCall, masked: Mask, active: Mask) -> None:
        """Run a pass and write what is chosen of its guesses."""
        run = self._backend.refresh if call.is_refresh else self._backend.step
        found = run(*call.arguments(self._tokens))
        chosen = self._committer.chosen(masked, found, lambda: self._masked_share(call))
        place = np.s_[:, call.start : call.stop]
        self._tokens[place][chosen] = found.tokens[chosen]
        self._mark(place, chosen)
        if self._foreseeing is not None:
            self._confirm(place, found, chosen)
            self._foreseeing.see(found, masked)
            self._foresee(place, masked & ~chosen)
        self._count += active
        self.passes.append(PassRecord(call, active))
        if self._on_pass is not None:
            self._on_pass(self._tokens, self.passes[-1])

    def _mark(self, place: tuple[slice, slice], chosen: Mask) -> None:
        """Remember the pass that wrote tokens, or after which a forecast did."""
        self.written[place][chosen] = self._count[chosen.nonzero()[0]]

    def _confirm(self, place: tuple[slice, slice], found: Prediction, chosen: Mask) -> None:
        """Note which tokens of a draft the pass after it has written alike."""
        if self._draft is not None:
            alike = self._draft.chosen & chosen & (self._draft.tokens == found.tokens)
            self._confirmed[place] |= alike

    def _foresee(self, place: tuple[slice, slice], masked: Mask) -> None:
        """Write what is foreseen for the masks that a pass has left, or keep it to be confirmed."""
        assert self._foreseeing is not None
        draft = self._foreseeing.draft(self._tokens[place], masked)
        self._foreseen[place] |= draft.chosen
        if self._foreseeing.settings.verify:
            self._draft = draft
            return
        self._tokens[place][draft.chosen] = draft.tokens[draft.chosen]
        self._mark(place, draft.chosen)
        self._confirmed[place] |= draft.chosen

    def _masked(self, block: Tokens, written: Tokens, running: Mask) -> Mask:
        """What may be written. A model may write its own mask token, and a policy must end all the same."""
        open_ = block == self._mask if self._decoding.commit is None else written < 0
        return open_ & running[:, None]

    def _masked_share(self, call: PassCall) -> NDArray[np.float64]:
        """Masks left in the block and the window after it, ``[batch]``."""
        window = self._decoding.suffix_window
        stop = self._blank.stop
        stop = stop if window is None else min(stop, call.stop + window)
        masked = self._tokens[:, call.start : stop] == self._mask
        share: NDArray[np.float64] = masked.sum(axis=1) / masked.shape[1]
        return share


def _any(mask: Mask) -> Mask:
    """Whether any of a sample's positions is, ``[batch]``."""
    found: Mask = np.asarray(mask.any(axis=1))
    return found


def _ended(
    tokens: Tokens, start: int, stop: int, end_tokens: Collection[int], blank: Blank
) -> Mask:
    """Which samples hold an end token in start..stop, all written; it fills the rest of the blank.

    What passes have written stays, so that what each of them saw can be told afterwards.
    """
    ends = (tokens[:, start:stop, None] == np.array(list(end_tokens))).any(axis=2)
    ended = _any(ends)
    for row in np.flatnonzero(ended):
        tokens[row, stop : blank.stop] = tokens[row, start + int(ends[row].argmax())]
    return ended
