"""Calibration of pruned weights on what the model itself answers: questions are all it takes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from hwsearch.compression.pruning.calibration import WeightCalibration, noisy_passes
from hwsearch.decoding.batches import groups_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.results import remembered
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.progress import each

#: Most questions of one prompt length that are answered together.
BATCH = 16


def own_calibration(denoiser: Denoiser, questions: Sequence[str]) -> WeightCalibration:
    """Calibration on the uncompressed model's own answers, masked at several noise levels.

    Args:
        denoiser: the uncompressed model.
        questions: calibration questions.

    Raises:
        InputError: there are no questions.
    """
    prompts = [denoiser.prompt(question) for question in questions]
    sequences = remembered(
        "answers", denoiser, [json.dumps(prompts)], lambda: _answered(denoiser, prompts)
    )
    return WeightCalibration(denoiser, noisy_passes(denoiser, sequences))


def _answered(
    denoiser: Denoiser, prompts: Sequence[list[int]]
) -> list[tuple[list[int], list[int]]]:
    """Prompts and what the model writes after each."""
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    sequences: list[tuple[list[int], list[int]]] = []
    groups = groups_of_equal_length(prompts, BATCH)
    for group in each(groups, "answering calibration questions", len(prompts), len):
        asked = np.array([prompts[index] for index in group])
        tokens = generate(backend, asked, denoiser.decoding.scheduled(), denoiser.mask_token_id)
        length = asked.shape[1]
        sequences += [(row[:length], row[length:]) for row in tokens.tolist()]
    return sequences
