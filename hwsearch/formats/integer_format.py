"""What formats of whole numbers times scales let others choose: the scales, and each number."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from hwsearch.formats.weight_format import Format

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    def scales(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scales ``[out, groups]`` that `encode` takes for weights ``[out, in]``; none is 0."""

    @abstractmethod
    def pack(self, numbers: NDArray[np.int8], scales: NDArray[np.float32]) -> Codes:
        """The arrays of `specs` for numbers ``[out, in]`` times scales ``[out, groups]``."""
