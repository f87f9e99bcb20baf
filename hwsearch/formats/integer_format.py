"""What formats of whole numbers times scales let others choose: the scales, and each number.

A weight that was rounded by what its linear sees is its codes, and what its inputs are divided by.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsearch.formats.weight_format import Format

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes


class IntegerFormat(Format):
    """A format whose weights are whole numbers times a scale.

    `encode` takes each weight for itself to the nearest number. Whoever knows what inputs a linear sees
    may choose better scales and numbers, and packs them.

    Attributes:
        low: least number.
        high: largest number.
        pair_sum: what the magnitudes of two neighbours' numbers, inputs 2k and 2k + 1, may add up to;
            None where they are free.
    """

    low: int
    high: int
    pair_sum: int | None = None

    @abstractmethod
    def scales(self, codes: Codes) -> NDArray[np.float32]:
        """The scales ``[out, groups]`` of codes that `encode` made; 1 in place of 0."""

    def zero_points(self, codes: Codes) -> NDArray[np.uint8] | None:
        """How many numbers of each group lie below 0 in such codes, ``[out, groups]``.

        None where all groups have numbers from `low` to `high`; else they begin at minus that, and there
        are as many.
        """
        return None

    @abstractmethod
    def pack(
        self,
        numbers: NDArray[np.int8],
        scales: NDArray[np.float32],
        points: NDArray[np.uint8] | None = None,
    ) -> Codes:
        """The arrays of `specs` for numbers ``[out, in]`` times scales ``[out, groups]``."""


@dataclass(frozen=True, eq=False)
class RoundedWeight:
    """A linear's weight in a format.

    Attributes:
        codes: the arrays of `Format.specs`, of weights that are multiplied by `scale`.
        scale: powers of two that inputs are divided by before they are rounded, ``[in]``; None for 1.
        origin: digest of the calibration that it was made by.
    """

    codes: Codes
    scale: Tensor | None
    origin: str = ""

    def dividing(self, round_inputs: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A format's rounding of inputs that are divided first."""
        return round_inputs if self.scale is None else DividedInputs(round_inputs, self.scale)


class DividedInputs:
    """Rounds inputs that are divided by a scale first; see `RoundedWeight`."""

    def __init__(self, round_inputs: Callable[[Tensor], Tensor], scale: Tensor) -> None:
        self._round, self._scale = round_inputs, scale

    def __call__(self, x: Tensor) -> Tensor:
        """Inputs ``[..., in]``, divided and rounded."""
        return self._round(x / self._scale.to(x))
