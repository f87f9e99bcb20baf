"""What the simulated model writes and predicts before the export, for `hwsearch verify` to ask again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.perturbed import EPSILON, perturbed
from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import PassCall, PassKind
from hwsearch.decoding.trajectory import FrozenPass, Trajectory, frozen_passes, record, replay
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.chat.asking import Infilling, Question
from hwsearch.denoisers.network import Network
from hwsearch.runtime.bundle import Reference
from hwsearch.runtime.reference import (
    References,
    divergence,
    judged_positions,
    log_probabilities,
    top_tokens,
)

#: Generations of which passes are judged; more questions than these are only asked.
JUDGED = 16

#: Relative disturbances of the simulation's runs. The first are what sums in another order come to;
#: the stronger ones make flips that are rare in a small network show, each as large as it is anyway.
DISTURBANCES = (EPSILON, EPSILON, 8 * EPSILON, 8 * EPSILON)


def answers(
    compressed: CompressedDenoiser, kept: KeptShares, questions: Sequence[Question]
) -> tuple[tuple[Reference, ...], References | None]:
    """What torch generates, one question at a time as the bundle will, and predicts on the way.

    Args:
        compressed: the denoiser, its plan applied.
        kept: for each layer the share of cached positions it keeps, and by which rule.
        questions: what to ask; without any there is nothing to compare a bundle with.
    """
    denoiser, decoding = compressed.denoiser, compressed.decoding
    backend = backend_of(compressed.network, kept)
    written = [
        record(
            backend,
            denoiser.given(question),
            decoding,
            denoiser.mask_token_id,
            end_token_ids(denoiser),
        )
        for question in questions
    ]
    asked = tuple(
        Reference(
            question=both.question,
            tokens=tuple(path.tokens[path.blank.place].tolist()),
            suffix=both.suffix,
        )
        for both, path in zip(map(Infilling.of, questions), written, strict=True)
    )
    if not written:
        return asked, None
    return asked, _references(compressed, kept, written[:JUDGED])


def _references(
    compressed: CompressedDenoiser, kept: KeptShares, written: Sequence[Trajectory]
) -> References:
    decoding, mask = compressed.decoding, compressed.denoiser.mask_token_id
    history = bool(kept.pruned)
    frozen = [
        (number, found)
        for number, path in enumerate(written)
        for found in frozen_passes(
            path, judged(path.passes(decoding), number), decoding, mask, history=history
        )
    ]
    chosen = [judged_positions(found) for _, found in frozen]
    logits = _logits(compressed.network, kept, frozen, chosen)
    ids = top_tokens(logits)
    logp = log_probabilities(logits, ids)
    floor_kl, floor_same = [], []
    for seed, epsilon in enumerate(DISTURBANCES):
        network = perturbed(compressed.network, seed, epsilon)
        moved = _logits(network, kept, frozen, chosen)
        floor_kl.append(divergence(logp, log_probabilities(moved, ids)))
        floor_same.append(moved.argmax(axis=-1) == ids[:, 0])
    counts = [len(positions) for positions in chosen]
    behind = [path.suffix_length for path in written]
    return References(
        prompt_lengths=np.array([path.blank.start for path in written]),
        tokens=np.concatenate([path.tokens for path in written]),
        written=np.stack([path.written for path in written]),
        generation=np.repeat([number for number, _ in frozen], counts),
        index=np.repeat([found.index for _, found in frozen], counts),
        position=np.concatenate(chosen),
        ids=ids,
        logp=logp.astype(np.float32),
        disturbances=np.array(DISTURBANCES, dtype=np.float32),
        floor_kl=np.array(floor_kl, dtype=np.float32),
        floor_same=np.array(floor_same),
        suffix_lengths=np.array(behind) if any(behind) else None,
    )


def judged(calls: Sequence[PassCall], number: int) -> list[int]:
    """The passes of the n-th generation that are judged: a refresh and, where there are any, a step.

    Of its advances one, too. Over all generations they are spread evenly, early and late ones.
    """
    kinds: dict[PassKind, list[int]] = {kind: [] for kind in PassKind}
    for index, call in enumerate(calls):
        kinds[call.shape.kind].append(index)
    # multiples of the golden section fill an interval evenly, however many there are
    place = number * 0.6180339887498949 % 1.0
    return [some[int(place * len(some))] for some in kinds.values() if some]


def _logits(
    network: Network,
    kept: KeptShares,
    frozen: Sequence[tuple[int, FrozenPass]],
    chosen: Sequence[NDArray[np.int64]],
) -> NDArray[np.float32]:
    """Logits ``[rows, vocab]`` of judged positions."""
    backend = backend_of(network, kept)
    with torch.inference_mode():
        found = [
            replay(backend, one)[0, torch.from_numpy(positions)].float().cpu().numpy()
            for (_, one), positions in zip(frozen, chosen, strict=True)
        ]
    return np.concatenate(found)
