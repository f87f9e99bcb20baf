"""Losses that choices are expected to add, before any trial: the prior mean of the loss model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import InputError
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats
from hwsearch.study.samplers.additive.loss_model.prior import FLOOR, flat_sizes
from hwsearch.study.samplers.additive.loss_model.warp import Warp

#: Losses by choice, or by the place of a choice, of each parameter that anything is known of.
PriorLosses = Mapping[str, Mapping[Any, float]]


@dataclass(frozen=True, eq=False)
class PriorMean:
    """What is expected of some parameters.

    Attributes:
        losses: what each column adds to the loss of the reference plan, [columns]; 0 where nobody
            knows.
        known: parameters that anything is known of, [groups].
    """

    losses: Floats
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, space: ChoiceSpace, prior: PriorLosses) -> PriorMean | None:
        """The prior mean of a space; None where nothing is known of its parameters.

        Raises:
            InputError: a parameter's losses are not one finite number for each of its choices.
        """
        known = np.array([name in prior for name in space.names], dtype=bool)
        if not known.any():
            return None
        losses = np.zeros(space.columns)
        for group in np.flatnonzero(known):
            name, start = space.names[group], space.offsets[group]
            values = np.array(_by_place(name, space.choices[group], prior[name]))
            losses[start : start + len(values)] = values - values[space.reference[group]]
        return cls(losses, known)

    def effects(self, warp: Warp, trust: float) -> Floats:
        """Mean effect of each column on the model's scale, 0 at the reference, [columns].

        Args:
            warp: the model's scale; its low end counts as the reference plan's loss.
            trust: factor of the expected losses.
        """
        return warp.forward(warp.low + trust * self.losses) - warp.forward(np.array(warp.low))

    def sizes(self, space: ChoiceSpace) -> Floats:
        """Prior sizes before any trial, [columns]: in proportion to what is expected, where it is."""
        known = self.known[space.group_of]
        sizes = np.abs(self.losses)
        top = float(np.maximum.reduceat(sizes, space.offsets)[self.known].mean())
        if top == 0.0:
            return flat_sizes(space)
        reference = space.choice_of == space.reference_row[space.group_of]
        expected = np.where(reference, 0.0, np.maximum(sizes / top, FLOOR))
        return np.where(known, expected, flat_sizes(space))


def _by_place(name: str, choices: tuple[Any, ...], losses: Mapping[Any, float]) -> list[float]:
    """Losses of a parameter's choices, in their order."""
    keys = choices if set(losses) == set(choices) else tuple(range(len(choices)))
    if set(losses) != set(keys):
        raise InputError(
            f"the prior of {name} must give a loss for each of {', '.join(map(repr, choices))}, or for "
            f"each place 0 to {len(choices) - 1}; got {', '.join(map(repr, losses))}"
        )
    values = [float(losses[key]) for key in keys]
    if not np.isfinite(values).all():
        raise InputError(f"the prior of {name} must be finite numbers; got {values}")
    return values
