"""Calibration of pruned weights on what the model itself answers: questions are all it takes."""

from __future__ import annotations

from collections.abc import Sequence

from hwsearch.compression.pruning.calibration import WeightCalibration, noisy_passes
from hwsearch.decoding.batches import Prompt, batches_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser

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
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    prompts = [denoiser.given(question) for question in questions]
    sequences: list[tuple[Prompt, list[int]]] = []
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
    return WeightCalibration(denoiser, noisy_passes(denoiser, sequences))
