"""The noise floor of a study's loss: differences that rounding alone can make mean nothing.

The winner's loss is computed twice more with its floats disturbed by a few units in the last place
(`hwsearch.compression.perturbed`). The range of the three values is the noise: two plans whose
losses are no further apart are *tied*. It grows with the model, from 1e-7 nats to 1e-3.
"""

from __future__ import annotations

import math

from hwsearch.compression.perturbed import perturbed
from hwsearch.plan import CompressionPlan
from hwsearch.study.objective import Objective
from hwsearch.study.records.record import update_record
from hwsearch.study.records.study import Study

#: Disturbed runs; each costs what a trial costs.
RUNS = 2


def record_noise(study: Study, objective: Objective) -> float | None:
    """Measure the noise of a study's loss once, and keep it with the study.

    Returns:
        The noise in the loss's own unit; None where there is no compressed plan to measure it on.
    """
    if study.noise is not None:
        return study.noise
    frame = study.frame().sort_values(["feasible", "loss"], ascending=[False, True])
    unlike = objective.predictor.device.uncompressed(objective.space.num_layers)
    chosen = frame[[plan != unlike for plan in frame["plan"]]]
    if chosen.empty:
        return None
    found = noise_of(objective, chosen["plan"].iloc[0], float(chosen["loss"].iloc[0]))
    if math.isfinite(found):
        update_record(study.optuna, loss_noise_nats=found)
    return study.noise


def noise_of(objective: Objective, plan: CompressionPlan, loss: float) -> float:
    """Range of a plan's loss and of the losses of `RUNS` disturbed runs of it."""
    network, kept = objective.workbench.network(plan)
    moved = [
        objective.loss_on(perturbed(network, seed), kept, plan.decoding) for seed in range(RUNS)
    ]
    return max(loss, *moved) - min(loss, *moved)
