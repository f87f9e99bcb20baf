"""What the model doubts, held against what it turns out to be wrong by."""

from __future__ import annotations

import numpy as np
from optuna.distributions import IntDistribution

from hwsearch.study.samplers.additive.encoding import ChoiceSpace
from hwsearch.study.samplers.additive.loss_model.hyperparameters import tune
from hwsearch.study.samplers.additive.loss_model.surrogate import fit_loss

BOLD, MILD = 6, 12  # parameters of two kinds, the one a hundred times as costly as the other


def test_what_a_kind_costs_together_bounds_what_any_of_it_is_doubted_by() -> None:
    names = [f"bold{i}" for i in range(BOLD)] + [f"mild{i:02}" for i in range(MILD)]
    kinds = {name: name[:4] for name in names}
    space = ChoiceSpace.of({n: IntDistribution(0, 3) for n in names}, {}, 32, kinds)
    rng = np.random.default_rng(0)
    weight = rng.lognormal(sigma=0.8, size=BOLD + MILD)
    effects = np.array([[0.0, 5e-4, 4e-3, 2e-2]] * BOLD + [[0.0, 1e-4, 2e-4, 3e-4]] * MILD)

    def losses_of(rows: np.ndarray) -> np.ndarray:
        return (weight * effects[np.arange(BOLD + MILD), rows]).sum(axis=1)

    # uniform plans, and bold parameters alone: no trial tells two mild ones apart
    uniform = [[bold] * BOLD + [mild] * MILD for bold in range(4) for mild in range(4)]
    rows = np.array(uniform + (3 * np.eye(BOLD, BOLD + MILD, dtype=int)).tolist())
    losses, exact = losses_of(rows), np.zeros(len(rows))
    loss = fit_loss(
        space,
        tune(space, rows, losses, exact),
        rows,
        losses,
        chosen=np.arange(len(rows)),
        gram=np.zeros((space.columns, space.columns)),
        spread=exact,
    )
    fresh = np.zeros((200, BOLD + MILD), dtype=int)
    fresh[:, BOLD:] = rng.integers(4, size=(200, MILD))
    mean, spread = loss.predict(fresh)
    surprise = (loss.warp.forward(losses_of(fresh)) - mean) / spread
    assert 0.4 < surprise.std() < 2.5
