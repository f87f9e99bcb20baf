import numpy as np
import pytest

from hwsearch.analytical.noise import (
    NoiseSchedule,
    cosine_schedule,
    linear_schedule,
    noise_schedule,
)
from hwsearch.errors import InputError, UnknownNameError


def test_linear_is_the_product_of_what_steps_leave():
    bars = linear_schedule().alpha_bars
    product = 1.0
    for step, beta in enumerate(np.linspace(1e-4, 0.02, 1000)):
        product *= 1 - beta
        assert bars[step] == pytest.approx(product)


def test_cosine_is_the_curve_but_for_its_last_step():
    bars = cosine_schedule().alpha_bars
    time = np.arange(1, 1001) / 1000
    curve = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(bars[:-1], curve[:-1], rtol=1e-9)
    assert 0 < bars[-1] < bars[-2]


def test_levels_go_from_noise_to_clean():
    for name in ("linear", "cosine"):
        schedule = noise_schedule(name)
        levels = schedule.levels(10)
        assert levels == sorted(levels)
        assert (levels[0], levels[-1]) == (schedule.alpha_bars[-1], schedule.alpha_bars[0])
        assert len(schedule.levels(1)) == 1


@pytest.mark.parametrize("count", [0, 1001])
def test_there_are_as_many_levels_as_steps(count):
    with pytest.raises(InputError, match="1 to 1000 can be taken"):
        linear_schedule().levels(count)


@pytest.mark.parametrize("bars", [[], [1.0, 0.5], [0.5, 0.0], [0.5, 0.5], [0.4, 0.5], [np.nan]])
def test_what_is_no_schedule_is_refused(bars):
    with pytest.raises(InputError, match="alpha-bars must"):
        NoiseSchedule("mine", np.array(bars))


def test_an_unknown_schedule_is_named():
    with pytest.raises(UnknownNameError, match="unknown noise schedule 'cosin'"):
        noise_schedule("cosin")
