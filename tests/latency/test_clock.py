import pytest

from hwsearch.latency.calibrate import calibration_plans, fit_line
from hwsearch.latency.clock import interleave
from hwsearch.plan import WeightFormat


class FakeClock:
    """Time passes only while something runs."""

    def __init__(self):
        self.now = 0.0
        self.order = []

    def __call__(self):
        return self.now

    def taking(self, name, seconds):
        def run():
            self.order.append(name)
            self.now += seconds

        return run


def test_interleave_times_each_run_and_takes_turns():
    clock = FakeClock()
    runs = {"quick": clock.taking("quick", 1e-3), "slow": clock.taking("slow", 5e-3)}
    samples = interleave(runs, 4, sample_seconds=1e-3, clock=clock)
    assert samples["quick"] == pytest.approx([1000.0] * 4)
    assert samples["slow"] == pytest.approx([5000.0] * 4)
    changes = sum(a != b for a, b in zip(clock.order, clock.order[1:], strict=False))
    assert changes >= 4


def test_quick_runs_are_repeated_within_a_sample():
    clock = FakeClock()
    interleave({"quick": clock.taking("quick", 1e-5)}, 1, sample_seconds=1e-3, clock=clock)
    assert len(clock.order) == pytest.approx(100, abs=5)


def test_a_line_is_found_again():
    sums = [1.0, 2.0, 5.0, 9.0]
    line = fit_line(sums, [0.5 + 1.2 * s for s in sums])
    assert (line.intercept_ms, line.slope) == (pytest.approx(0.5), pytest.approx(1.2))
    assert line.mape == pytest.approx(0.0, abs=1e-9)


def test_a_line_may_start_below_zero_but_never_falls():
    assert fit_line([1.0, 2.0], [0.8, 1.8]).intercept_ms == pytest.approx(-0.2)
    assert fit_line([1.0, 2.0], [2.0, 1.0]).slope > 0


def test_a_line_needs_different_sums():
    with pytest.raises(ValueError, match="at least two"):
        fit_line([1.0, 1.0], [1.0, 2.0])


def test_calibration_plans_span_formats_and_are_reproducible():
    plans = calibration_plans(4, tuple(WeightFormat), (1.0, 0.5), mixed=3)
    assert len(plans) == len(WeightFormat) + 3
    assert plans == calibration_plans(4, tuple(WeightFormat), (1.0, 0.5), mixed=3)
    assert len(set(plans)) == len(plans)
