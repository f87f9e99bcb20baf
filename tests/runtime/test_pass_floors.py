"""What a frozen pass is held against: a flip in the only pass is no fault."""

from types import SimpleNamespace

import numpy as np
import pytest

from hwsearch.runtime.divergence import MEDIAN_OF, _pass_floors

# four positions a pass; the weakest run is quiet, and a stronger one had an input flip in pass 0
QUIET, FLIPPED = 1e-10, 4e-6


def floors(passes):
    floor = np.full((2, 4 * passes), QUIET)
    floor[1, :4] = FLIPPED
    references = SimpleNamespace(floor_kl=floor, disturbances=np.array([1.0, 4.0]))
    return _pass_floors(references, [np.arange(4 * i, 4 * i + 4) for i in range(passes)])


def test_few_passes_are_held_against_the_worst_run():
    assert floors(1) == [pytest.approx(FLIPPED)]
    assert floors(MEDIAN_OF - 1)[0] == pytest.approx(FLIPPED)


def test_a_median_of_enough_passes_is_held_against_the_weakest():
    assert floors(MEDIAN_OF) == [pytest.approx(QUIET)] * MEDIAN_OF
