"""Calibration of pruned weights on what the model itself answers: questions are all it takes."""

from __future__ import annotations

from collections.abc import Sequence

from hwsearch.compression.pruning.calibration import WeightCalibration, noisy_passes
from hwsearch.decoding.batches import Given, batches_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.results import remembered
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.progress import work

#: Most questions of one prompt length that are answered together.
BATCH = 16


def own_calibration(denoiser: Denoiser, questions: Sequence[Question]) -> WeightCalibration:
    """Calibration on the uncompressed model's own answers, masked at several noise levels.

    Args:
        denoiser: the uncompressed model.
        questions: calibration questions.

    Raises:
        InputError: there are no questions.
    """
    prompts = [denoiser.given(question) for question in questions]
    sequences = remembered(
        "answers", denoiser, [repr(prompts)], lambda: _answered(denoiser, prompts), [Given]
    )
    return WeightCalibration(denoiser, noisy_passes(denoiser, sequences))


def _answered(denoiser: Denoiser, prompts: Sequence[Given]) -> list[tuple[Given, list[int]]]:
    """Prompts and what the model writes into the blank of each."""
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    sequences: list[tuple[Given, list[int]]] = []
    with work("answering calibration questions", len(prompts)) as advance:
        for group in batches_of_equal_length(prompts, BATCH):
            found = generation(
                backend,
                group.prompts,
                denoiser.decoding.scheduled(),
                denoiser.mask_token_id,
                suffixes=group.suffixes,
            )
            written = found.tokens[:, found.blank.place].tolist()
            sequences += zip([prompts[index] for index in group.indices], written, strict=True)
            advance(len(group.indices))
    return sequences
