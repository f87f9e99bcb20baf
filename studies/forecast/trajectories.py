"""Passes over blocks of gsm-mini with their logits and final hidden states, as decodings make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.backend import Tokens
from hwsearch.decoding.batches import batches_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import WHOLE, Scope
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.forecast.passes import BlockPasses
from hwsearch.tasks.gsm_mini.generator import problems

STOP: dict[str, Any] = {"stop_at_end": True}
ADVANCE: dict[str, Any] = {"window": {"advance": True}}


def threshold(value: float) -> dict[str, Any]:
    """A decoding that writes what is more probable, and stops at the end."""
    return {"commit": {"policy": "threshold", "threshold": value}} | STOP


#: What each decoding changes of the makers'.
DECODINGS: dict[str, dict[str, Any]] = {
    "threshold .8": threshold(0.8),
    "threshold .9": threshold(0.9),
    "threshold .95": threshold(0.95),
    "threshold .8, advance": threshold(0.8) | ADVANCE,
    "threshold .9, advance": threshold(0.9) | ADVANCE,
    "threshold .95, advance": threshold(0.95) | ADVANCE,
    "makers": {},
}


@dataclass(frozen=True, eq=False)
class Written:
    """The passes over one block of one problem, and what came of it.

    Attributes:
        problem: which problem.
        block: which of its blocks, from 0.
        passes: as forecasts are fitted on.
        text: tokens of the block in the end, ``[block]``.
    """

    problem: int
    block: int
    passes: BlockPasses
    text: NDArray[np.int64]


class RecordingBackend(TorchBackend):
    """Keeps what each pass saw and put out."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
        self._hidden: Tensor | None = None
        self.seen: list[tuple[int, Tokens, NDArray[np.float32], NDArray[np.float32]]] = []
        denoiser.network.lm_head.register_forward_pre_hook(self._keep)

    def _keep(self, _module: Any, inputs: tuple[Tensor]) -> None:
        self._hidden = inputs[0]

    def refresh_logits(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Tensor:
        return self._noted(super().refresh_logits(tokens, start, stop, scope), tokens, start, stop)

    def step_logits(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Tensor:
        return self._noted(super().step_logits(tokens, start, stop, scope), tokens, start, stop)

    def _noted(self, logits: Tensor, tokens: Tokens, start: int, stop: int) -> Tensor:
        assert self._hidden is not None
        hidden = self._hidden.float().numpy()
        assert hidden.shape[1] == stop - start, "the head sees more rows than are predicted"
        self.seen.append((start, tokens[:, start:stop].copy(), logits.numpy(), hidden))
        return logits


def collect(
    denoiser: Denoiser, changes: dict[str, Any], questions: Sequence[str], batch: int = 32
) -> tuple[list[Written], float]:
    """All blocks that a decoding writes for some questions, and passes a generation."""
    decoding = denoiser.decoding.changed(changes)
    backend, ends = RecordingBackend(denoiser), end_token_ids(denoiser)
    blocks: list[Written] = []
    passes = 0
    for group in batches_of_equal_length([denoiser.prompt(text) for text in questions], batch):
        backend.seen = []
        found = generation(
            backend, group.prompts, decoding, denoiser.mask_token_id, end_tokens=ends
        )
        passes += sum(int(record.active.sum()) for record in found.passes)
        blocks += _blocks(backend, group.indices, found.tokens, denoiser.mask_token_id)
    return sorted(blocks, key=lambda one: (one.problem, one.block)), passes / len(questions)


def _blocks(
    backend: RecordingBackend, indices: Sequence[int], tokens: Tokens, mask: int
) -> list[Written]:
    """What the recorded passes of one batch were, block by block."""
    starts = sorted({start for start, *_ in backend.seen})
    blocks = []
    for block, start in enumerate(starts):
        seen = [one[1:] for one in backend.seen if one[0] == start]
        size = seen[0][0].shape[1]
        for row, problem in enumerate(indices):
            own = [[array[row] for array in one] for one in seen]
            own = [one for one in own if (one[0] == mask).any()]
            if own:
                shown, logits, hidden = (np.stack(arrays) for arrays in zip(*own, strict=True))
                passes = BlockPasses(shown, shown == mask, logits, hidden)
                text = tokens[row, start : start + size]
                blocks.append(Written(problem, block, passes, text))
    return blocks


def questions(split: str, count: int) -> list[str]:
    """The first questions of a split of gsm-mini."""
    return [problem.question for problem in islice(problems(split), count)]
