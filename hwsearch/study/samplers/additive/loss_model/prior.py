"""Prior size of each choice's effect, shared between parameters with the same choices."""

from __future__ import annotations

import numpy as np

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats

FLOOR = 0.03  # least prior size, as a share of the kind's largest
SHRINK = 2.0  # imaginary choices of average size added to each parameter's own
OWN = 0.7  # say of a choice's own estimate, in logarithms; the rest is its kind's and parameter's


def flat_sizes(space: ChoiceSpace) -> Floats:
    """Sizes before any trial: the distance from the reference in choices, 0 to 1, [columns]."""
    reference = space.reference_row[space.group_of]
    distance = np.abs(space.choice_of - reference)
    reach = np.maximum(space.reference_row, space.sizes - 1 - space.reference_row)
    sizes: Floats = distance / reach[space.group_of]
    return sizes


def fitted_sizes(space: ChoiceSpace, effects: Floats, spread: Floats) -> Floats:
    """Sizes learned from estimated effects.

    A choice shares them with its kind (a shape) and its parameter (a magnitude); but the same choice
    costs one layer a thousand times what it costs another, and one layer may bear a choice and
    not the next, so its own estimate counts too, uncertain as it is.

    Args:
        space: the plans.
        effects: estimated effect of each column, 0 at the reference, [columns].
        spread: standard deviation of each estimate, [columns].

    Returns:
        Prior standard deviations, 0 at the reference, largest mean 1, [columns].
    """
    second_moment = effects**2 + spread**2
    sizes = np.zeros(space.columns)
    for kind in range(int(space.kinds.max()) + 1):
        groups = np.flatnonzero(space.kinds == kind)
        columns = space.offsets[groups][:, None] + np.arange(space.sizes[groups[0]])
        shape = np.sqrt(second_moment[columns].mean(axis=0))
        shape[space.reference_row[groups[0]]] = 0.0
        shape = np.maximum(shape, FLOOR * shape.max())
        shape[space.reference_row[groups[0]]] = 0.0
        common = shape * _magnitudes(second_moment[columns], shape)[:, None]
        sizes[columns] = common ** (1.0 - OWN) * second_moment[columns] ** (0.5 * OWN)
    top = np.maximum.reduceat(sizes, space.offsets).mean()
    return sizes / top if top > 0 else flat_sizes(space)


def _magnitudes(second_moment: Floats, shape: Floats) -> Floats:
    """Size of each parameter's effects against its kind's shape, shrunk towards 1, [groups]."""
    used = shape > 0
    if not used.any():
        return np.ones(len(second_moment))
    weight = shape[used] / shape[used].sum()
    ratio = second_moment[:, used] / shape[used] ** 2 @ weight
    count = float(used.sum())
    shrunk: Floats = np.sqrt((count * ratio + SHRINK) / (count + SHRINK))
    return shrunk
