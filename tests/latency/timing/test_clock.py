import numpy as np
import pytest

from hwsearch.latency.prediction.calibration import (
    at_one_pace,
    calibration_plans,
    fit_line,
    fit_pass,
)
from hwsearch.latency.timing.clock import interleave
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


def test_short_runs_are_warm_in_every_sample_and_long_ones_go_once():
    clock, left_by = FakeClock(), []

    def cold_after_others(name, seconds):
        run = clock.taking(name, seconds)

        def timed():
            left_by.append(clock.order[-1] if clock.order else name)
            run()
            clock.now += 0.0 if left_by[-1] == name else 1e-3

        return timed

    runs = {"short": cold_after_others("short", 5e-3), "long": clock.taking("long", 5e-2)}
    samples = interleave(runs, 6, clock=clock)
    assert samples["short"] == pytest.approx([5000.0] * 6)
    assert "long" in left_by  # so the short one was cold at times, but not when it was timed
    assert clock.order.count("long") == 2 + 6


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


def mixed_sums(count=16, seed=0):
    """Operator sums of plans by format, as mixed plans have them."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet((1.0, 1.0, 1.0), size=count)
    formats = (WeightFormat.FP32, WeightFormat.W8A8, WeightFormat.W4)
    cost = (8.0, 2.0, 3.0)
    return [
        {None: 0.7} | {f: c * float(s) for f, c, s in zip(formats, cost, row, strict=True)}
        for row in shares
    ]


def test_formats_whose_probes_flatter_them_are_found_out():
    truth = {None: 1.0, WeightFormat.FP32: 1.0, WeightFormat.W8A8: 1.15, WeightFormat.W4: 0.9}
    sums = mixed_sums()
    times = [0.5 + 1.2 * sum(truth[f] * ms for f, ms in row.items()) for row in sums]
    line, plain = fit_pass(sums, times), fit_line([sum(row.values()) for row in sums], times)
    fresh = mixed_sums(seed=1)
    expected = [0.5 + 1.2 * sum(truth[f] * ms for f, ms in row.items()) for row in fresh]
    found = [line.of(row) for row in fresh]
    assert found == pytest.approx(expected, rel=0.02)
    assert line.factor(WeightFormat.W8A8) > line.factor(WeightFormat.FP32)
    assert line.mape < 0.3 * plain.mape
    assert line.degrees == len(sums) - 2 - 3


def test_formats_that_probes_tell_right_keep_their_worth():
    rng, sums = np.random.default_rng(3), mixed_sums()
    times = [(0.5 + 1.2 * sum(row.values())) * (1 + 0.005 * rng.normal()) for row in sums]
    line = fit_pass(sums, times)
    assert all(line.factor(fmt) == pytest.approx(1.0, abs=0.1) for fmt in WeightFormat)


def test_one_format_alone_is_a_plain_line():
    sums = [{WeightFormat.FP32: ms} for ms in (1.0, 2.0, 5.0)]
    assert fit_pass(sums, [1.7, 2.9, 6.5]) == fit_line([1.0, 2.0, 5.0], [1.7, 2.9, 6.5])


def test_choosing_positions_counts_where_no_probe_saw_it():
    rng, sums = np.random.default_rng(5), mixed_sums()
    layers = rng.integers(0, 7, size=len(sums))
    sums = [row | {"choosing": 0.1 * n} for row, n in zip(sums, layers.tolist(), strict=True)]
    times = [0.5 + 1.2 * (sum(row.values()) + row["choosing"]) for row in sums]
    line = fit_pass(sums, times)
    assert line.factor("choosing") > 1.4 * line.factor(WeightFormat.FP32)
    assert [line.of(row) for row in sums] == pytest.approx(times, rel=0.01)
    assert line.degrees == len(sums) - 2 - 4


def test_sessions_of_a_slower_machine_are_brought_to_one_pace():
    plans = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 30.0]])
    slow = np.array([1.0, 1.3, 0.9])[:, None, None]
    found = at_one_pace(slow * plans)
    assert found[1] == pytest.approx(found[0])
    assert found[0] / plans == pytest.approx(np.full((3, 2), (1.3 * 0.9) ** (1 / 3)))
