"""A weight that was rounded by what its linear sees: its codes, and what its inputs are divided by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes


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
