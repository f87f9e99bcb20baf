"""Prior sizes: shared where layers are alike, a choice's own where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import IntDistribution

from hwsearch.study.samplers.additive.encoding import ChoiceSpace
from hwsearch.study.samplers.additive.loss_model.prior import fitted_sizes


@pytest.fixture
def space() -> ChoiceSpace:
    return ChoiceSpace.of({f"layer{i}": IntDistribution(0, 3) for i in range(4)}, {}, 32)


def sizes_of(space: ChoiceSpace, effects: np.ndarray, spread: float = 1e-6) -> np.ndarray:
    found = fitted_sizes(space, effects.ravel(), np.full(space.columns, spread))
    return found.reshape(effects.shape)


def test_layers_that_are_alike_share_a_shape(space: ChoiceSpace) -> None:
    sizes = sizes_of(space, np.tile([0.0, 0.1, 0.2, 1.0], (4, 1)))
    assert np.allclose(sizes, sizes[0])
    assert sizes[0, 0] == 0.0
    assert (np.diff(sizes[0]) > 0).all()
    assert sizes.max(axis=1).mean() == pytest.approx(1.0)


def test_a_layer_that_bears_what_another_cannot_is_told_apart(space: ChoiceSpace) -> None:
    effects = np.tile([0.0, 1e-3, 1e-3, 1e-3], (4, 1))
    effects[2, 2:] = 1.0  # bears the first choice, and no other
    sizes = sizes_of(space, effects)
    assert sizes[2, 3] > 20 * sizes[2, 1]
    assert sizes[2, 3] > 20 * sizes[0, 3]


def test_what_is_not_known_keeps_its_size(space: ChoiceSpace) -> None:
    effects = np.tile([0.0, 1.0, 1.0, 1.0], (4, 1))
    effects[1] = 0.0
    known = sizes_of(space, effects)
    spread = np.full(space.columns, 1e-6)
    spread[4:8] = 1.0  # the second layer's effects are anyone's guess
    unknown = fitted_sizes(space, effects.ravel(), spread).reshape(effects.shape)
    assert unknown[1, 3] > 50 * known[1, 3]
    assert unknown[1, 3] == pytest.approx(unknown[0, 3], rel=0.1)
