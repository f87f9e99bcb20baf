"""Noise schedules: how much signal is left at each of a diffusion's time steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import InputError, UnknownNameError


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Alpha-bar at each time step.

    Attributes:
        name: what it is called.
        alpha_bars: ``[steps]``, falling, all between 0 and 1; the first is nearly clean.
    """

    name: str
    alpha_bars: NDArray[np.float64]

    def __post_init__(self) -> None:
        bars = self.alpha_bars
        if not (bars.ndim == 1 and len(bars) and (bars > 0).all() and (bars < 1).all()):
            raise InputError("alpha-bars must be a list of numbers between 0 and 1, both excluded")
        if not (np.diff(bars) < 0).all():
            raise InputError("alpha-bars must fall from step to step: noise only grows")

    def levels(self, count: int) -> list[float]:
        """Alpha-bars of `count` evenly spaced steps, the noisiest first, both ends among them.

        Raises:
            InputError: there are fewer steps, or `count` is below 1.
        """
        if not 1 <= count <= len(self.alpha_bars):
            raise InputError(
                f"the schedule has {len(self.alpha_bars)} steps, so 1 to {len(self.alpha_bars)} can "
                f"be taken; got {count}"
            )
        steps = np.linspace(len(self.alpha_bars) - 1, 0, count).round().astype(int)
        return [float(bar) for bar in self.alpha_bars[steps]]


def linear_schedule(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> NoiseSchedule:
    """DDPM's: the variance that a step adds grows linearly (Ho et al. 2020, section 4).

    >>> schedule = linear_schedule()
    >>> [round(bar, 5) for bar in schedule.levels(2)]
    [4e-05, 0.9999]
    """
    betas = np.linspace(first, last, steps)
    return NoiseSchedule("linear", np.asarray(np.cumprod(1.0 - betas), dtype=np.float64))


def cosine_schedule(steps: int = 1000, offset: float = 0.008) -> NoiseSchedule:
    """Improved DDPM's: alpha-bar falls as a squared cosine (Nichol and Dhariwal 2021, equation 17)."""
    time = np.arange(steps + 1) / steps
    curve = np.cos((time + offset) / (1.0 + offset) * np.pi / 2.0) ** 2
    kept = np.maximum(curve[1:] / curve[:-1], 1e-3)
    return NoiseSchedule("cosine", np.asarray(np.cumprod(kept), dtype=np.float64))


#: Schedules by name.
SCHEDULES: dict[str, Callable[[], NoiseSchedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
}


def noise_schedule(name: str) -> NoiseSchedule:
    """A schedule by name.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if name not in SCHEDULES:
        raise UnknownNameError("noise schedule", name, SCHEDULES)
    return SCHEDULES[name]()
