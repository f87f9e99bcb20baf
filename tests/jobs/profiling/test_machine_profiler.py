"""Profiles of a machine whose truth is a formula: no clock, no runtime, the same everywhere."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from hwsearch.decoding.pass_counts import PassCounts, PassPlace
from hwsearch.decoding.passes import PassKind
from hwsearch.errors import InputError
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import MachineProfiler
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.generations import scheduled_generations
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.prediction.calibration import (
    calibration_plans,
    fit_line,
    fit_pass,
)
from hwsearch.latency.prediction.generation_fit import fit_generations
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.timing.operator_times import Kept, operators_of, profile
from hwsearch.plan import CompressionPlan, Decoding, WeightFormat
from hwsearch.sinks import SinkProfile
from hwsearch.testing.device import formula_us
from hwsearch.testing.timers import FormulaTimers
from hwsearch.testing.tiny import tiny_denoiser
from tests.latency.prediction.test_pruned_sizes import WORK

EFFORT = Effort(threads=1, rounds=3, sessions=3, mixed_plans=12)
KEYS = tuple(OpKey("linear", rows, 64, 64, format="fp32") for rows in (1, 2, 4))


@cache
def denoiser():
    return tiny_denoiser(heads=4, kv_heads=2)


def profiler(out, timers, effort=EFFORT, name="box", **rest):
    return MachineProfiler(name, out, effort, timers=timers, **rest)


def edit(folder, pattern, to):
    path = folder / "device.toml"
    text = path.read_text()
    assert re.search(pattern, text, flags=re.M)
    path.write_text(re.sub(pattern, to, text, count=1, flags=re.M))


def test_every_session_times_every_operator_by_the_table(tmp_path):
    timers = FormulaTimers()
    device = profiler(tmp_path, timers).time_operators(KEYS)
    assert timers.operator_calls == [(KEYS, 3, session) for session in range(3)]
    for key in KEYS:
        assert [len(samples) for samples in device.table.samples[key]] == [3, 3, 3]
        assert device.costs.cost_us(key) == pytest.approx(timers.scale * formula_us(key), abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_operators_take_turns_in_rounds_each_in_an_order_of_its_own(seed):
    keys = [OpKey("linear", rows, 64, 64, format="fp32") for rows in range(30, 36)]
    timers = FormulaTimers(scale=1e4)
    timers.operators(keys, 8, seed)
    # two runs of each beforehand; operators this slow then run once a sample
    order = timers.clock.order[2 * len(keys) :]
    rounds = [order[i : i + len(keys)] for i in range(0, len(order), len(keys))]
    assert len(rounds) == 8 and all(set(turns) == set(keys) for turns in rounds)
    assert len({tuple(turns) for turns in rounds}) > 6
    again, other = FormulaTimers(scale=1e4), FormulaTimers(scale=1e4)
    again.operators(keys, 8, seed)
    other.operators(keys, 8, seed + 1)
    assert again.clock.order == timers.clock.order != other.clock.order


def test_a_session_s_slowness_does_not_show_in_the_median(tmp_path):
    timers = FormulaTimers(pace=(1.0, 1.7, 0.6))
    device = profiler(tmp_path, timers).time_operators(KEYS)
    for key in KEYS:
        assert device.costs.cost_us(key) == pytest.approx(timers.scale * formula_us(key), rel=1e-3)
        assert device.table.spread(key) > 0.1
    assert not timers.plan_calls and not device.info.calibrations


FACTORS = [
    {},
    {WeightFormat.W8A8: 1.2, WeightFormat.W4: 0.85},
    {WeightFormat.W8: 1.3, "choosing": 2.5},
]


@pytest.mark.parametrize("factors", FACTORS, ids=["alike", "formats", "choosing"])
@pytest.mark.parametrize("pace", [(1.0,), (1.0, 1.3, 0.8)], ids=["steady", "three paces"])
def test_a_calibration_finds_the_line_and_factors_of_the_machine(tmp_path, factors, pace):
    timers = FormulaTimers(factors=factors, pace=pace)
    device = profiler(tmp_path, timers).time_model(denoiser(), WORK)
    (calibration,) = device.info.calibrations
    geometric = float(np.prod([pace[min(i, len(pace) - 1)] for i in range(3)])) ** (1 / 3)
    fresh = calibration_plans(2, device.costs.formats(), (0.2, 0.5, 1.0), 8, 99)
    sinks = SinkProfile.keeping_all(2)
    predictor = Predictor(device, denoiser().geometry, WORK, calibration)
    (truth,) = timers.plans(denoiser(), fresh, sinks, WORK, 1)
    for plan, (refresh, step, generation, *_) in zip(fresh, truth, strict=True):
        found = predictor.predict(sinks.keep(plan))
        assert found.refresh_ms == pytest.approx(geometric * refresh, rel=0.02)
        assert found.step_ms == pytest.approx(geometric * step, rel=0.02)
        assert found.generation_ms == pytest.approx(geometric * generation, rel=0.02)
    # plans of one model have equally many layers, so that a format's factor and the intercept are told
    # apart only roughly; which formats are worth more and which less is plain all the same
    for group in (*device.costs.formats(), "choosing"):
        found, wanted = calibration.refresh.factor(group), factors.get(group, 1.0)
        assert found == pytest.approx(wanted, rel=0.15)
        assert (found > 1.05) == (wanted > 1.05) and (found < 0.85) == (wanted < 0.9)
    assert calibration.refresh.plans == 4 + EFFORT.mixed_plans == len(timers.plan_calls[0])


COSTS = [(0.0, 0.0, 0.0), (0.6, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 4.0), (0.3, 1.0, 2.0)]


@pytest.mark.parametrize("costs", COSTS, ids=["none", "pass", "refresh", "once", "all"])
def test_what_a_pass_a_refresh_and_a_generation_cost_is_told_apart(tmp_path, costs):
    """Generations of five passes and of 48 are predicted alike well, whichever of them costs."""
    between, filling, once = costs
    timers = FormulaTimers(between_ms=between, filling_ms=filling, overhead_ms=once)
    makers = Decoding(gen_length=48, block_length=16, steps=48, refresh_interval=16)
    work, sinks = Workload(9, makers), SinkProfile.keeping_all(2)
    device = profiler(tmp_path, timers).time_model(denoiser(), work)
    (calibration,) = device.info.calibrations
    beside = 5 * between + 3 * filling + once
    assert calibration.costs.of(5, 3) == pytest.approx(beside, rel=0.1, abs=0.2)
    plan = CompressionPlan.uniform(2, "w8a8", "w8a8")
    predictor = Predictor(device, denoiser().geometry, work, calibration)
    (((refresh, step, *_),),) = timers.plans(denoiser(), [plan], sinks, work, 1)
    for steps in ((1, 1, 0), (15, 15, 15)):
        found = predictor.given(counted(makers, steps)).predict(sinks.keep(plan)).generation_ms
        passes = 3 + sum(steps)
        truth = 3 * refresh + sum(steps) * step + passes * between + 3 * filling + once
        assert found == pytest.approx(truth, rel=0.02)


def test_a_forecast_has_its_price_after_every_pass(tmp_path):
    makers = Decoding(gen_length=48, block_length=16, steps=48, refresh_interval=16)
    work, kept = Workload(9, makers), SinkProfile.keeping_all(2).keep(CompressionPlan.uniform(2))
    device = profiler(tmp_path, FormulaTimers(forecast_ms=0.4)).time_model(denoiser(), work)
    (calibration,) = device.info.calibrations
    predictor = Predictor(device, denoiser().geometry, work, calibration)
    policy = {"commit": {"policy": "threshold"}, "stop_at_end": True}
    plain, foreseeing = (
        predictor.given(counted(makers.changed(policy | more), (1, 1, 0))).predict(kept)
        for more in ({}, {"forecast": {"method": "low-rank"}})
    )
    assert foreseeing.generation_ms - plain.generation_ms == pytest.approx(5 * 0.4)


def test_a_device_of_an_earlier_version_is_read_and_shares_its_intercept_out(tmp_path):
    makers = Decoding(gen_length=48, block_length=16, steps=48, refresh_interval=16)
    work, kept = Workload(9, makers), SinkProfile.keeping_all(2).keep(CompressionPlan.uniform(2))
    folder = profiler(tmp_path, FormulaTimers()).time_model(denoiser(), work).folder
    text = (folder / "device.toml").read_text()
    older = re.sub(r"\n\[calibrations\.costs[^\[]*", "\n", text)
    older = re.sub(r"\n\[calibrations\.costs[^\[]*", "\n", older)
    older = older.replace("intercept_ms = 0.0", "intercept_ms = 24.0")
    assert older.count("costs") == 0 and older.count("24.0") == 1
    (folder / "device.toml").write_text(older)
    info = load_device(folder).info
    (calibration,) = info.calibrations
    predictor = Predictor(load_device(folder), denoiser().geometry, work, calibration)
    bare = calibration.model_copy(update={"generation": None})
    passes = Predictor(load_device(folder), denoiser().geometry, work, bare)
    given = counted(makers, (1, 1, 0))
    beside = predictor.given(given).predict(kept).generation_ms
    beside -= calibration.generation.slope * passes.given(given).predict(kept).generation_ms
    assert beside == pytest.approx(24.0 * 5 / 48)


def counted(decoding, steps):
    """A refresh for each block, and so many steps after it."""
    kinds = (PassKind.REFRESH, PassKind.STEP)
    places = [PassPlace(16 * block, kind) for block in range(len(steps)) for kind in kinds]
    counts = tuple(count for after in steps for count in (1, after))
    return PassCounts(decoding, tuple(places), (counts,), tuple(map(float, steps)), (48,))


@pytest.mark.parametrize("slope", [0.8, 1.0, 1.7])
@pytest.mark.parametrize("intercept", [-0.1, 0.0, 3.0])
def test_a_line_alone_is_found_exactly(tmp_path, intercept, slope):
    """Without factors to tell apart, as for a model of one format, nothing draws the line aside."""
    timers = FormulaTimers(intercept_ms=intercept, slope=slope, overhead_ms=1.5)
    device = timers.truth(denoiser(), WORK)
    plans = [CompressionPlan.uniform(2, **{"mlp": f}) for f in ("fp32", "w8a8", "w8", "w4")]
    sinks = SinkProfile.keeping_all(2)
    predictor = Predictor(device, denoiser().geometry, WORK)
    (times,) = timers.plans(denoiser(), plans, sinks, WORK, 1)
    whole = [sum(predictor.sums_ms(sinks.keep(plan))[0].values()) for plan in plans]
    line = fit_line(whole, [refresh for refresh, *_ in times])
    assert (line.intercept_ms, line.slope) == (
        pytest.approx(intercept, abs=1e-6),
        pytest.approx(slope, rel=1e-6),
    )


@pytest.mark.parametrize("seed", range(4))
def test_factors_are_found_where_plans_tell_them_apart(seed):
    """Passes of many sizes, so that what a format is worth does not look like an intercept."""
    rng, formats = np.random.default_rng(seed), list(WeightFormat)[:4]
    truth = dict(zip(formats, rng.uniform(0.8, 1.3, size=4).tolist(), strict=True))
    truth |= {"choosing": 2.0, None: 1.0}
    sums = [dict(zip(truth, row, strict=True)) for row in rng.uniform(0.5, 9, (40, 6)).tolist()]
    times = [0.3 + 1.4 * sum(truth[g] * ms for g, ms in row.items()) for row in sums]
    line = fit_pass(sums, times)
    for group, factor in truth.items():
        assert line.slope * line.factor(group) == pytest.approx(1.4 * factor, rel=0.03)
    assert line.intercept_ms == pytest.approx(0.3, abs=0.15)


#: The generation that all plans were run on before shorter ones told costs apart.
OWN = scheduled_generations(
    Decoding(gen_length=48, block_length=16, steps=48, refresh_interval=16)
)[:1]


def _each(passes):
    """A refresh and a step, alike, of generations of 48 passes that take so long."""
    return np.stack((passes, passes), axis=1) / 48


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("between", [0.0, 12.0], ids=["nothing between", "12 ms between"])
def test_noise_does_not_tilt_the_line_of_generations(seed, between):
    """Plans of about the same time and 1.5 % of noise: five long passes are priced right all the same."""
    rng = np.random.default_rng(seed)
    passes = rng.uniform(235, 275, 16)
    measured = (between + 1.02 * passes) * rng.normal(1.0, 0.015, 16)
    line, costs = fit_generations(_each(passes), OWN, measured[:, None])
    assert costs is None
    found = line.intercept_ms * 5 / 48 + line.slope * 40.0
    assert found == pytest.approx(between * 5 / 48 + 1.02 * 40.0, rel=0.02)
    assert line.plans == 16 and 0.005 < line.scatter < 0.03
    assert line.mape < 0.02


@pytest.mark.parametrize("slope", [0.97, 1.0, 1.05])
def test_plans_that_differ_enough_say_what_the_line_of_generations_is(slope):
    passes = np.geomspace(20, 2000, 40)
    line, _ = fit_generations(_each(passes), OWN, (3.0 + slope * passes)[:, None])
    assert line.slope == pytest.approx(slope, rel=0.002)
    assert line.intercept_ms == pytest.approx(3.0, rel=0.05)
    assert line.mape < 1e-3


def test_whole_model_runs_are_kept_at_one_pace_beside_the_table(tmp_path):
    steady, wild = FormulaTimers(), FormulaTimers(pace=(2.0, 0.5, 1.0))
    for name, timers in (("steady", steady), ("wild", wild)):
        profiler(tmp_path, timers, name=name).time_model(denoiser(), WORK)
    one, other = (pd.read_csv(tmp_path / name / "whole-model.csv") for name in ("steady", "wild"))
    for column in ("refresh_measured_ms", "step_measured_ms", "generation_measured_ms"):
        assert other[column].to_numpy() == pytest.approx(one[column].to_numpy(), rel=1e-6)


class CutOffError(Exception):
    pass


class Cut(FormulaTimers):
    """A machine that goes out after some sessions."""

    left = 2

    def operators(self, keys, rounds, seed):
        if self.left == 0:
            raise CutOffError
        self.left -= 1
        return super().operators(keys, rounds, seed)


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path):
    with pytest.raises(CutOffError):
        profiler(tmp_path, Cut()).time_operators(KEYS)
    assert not (tmp_path / "box").exists() and (tmp_path / ".box.unfinished").is_dir()
    rest = FormulaTimers()
    device = profiler(tmp_path, rest).time_operators(KEYS)
    assert [(set(keys), seed) for keys, _, seed in rest.operator_calls if keys] == [(set(KEYS), 2)]
    assert all(len(sessions) == 3 for sessions in device.table.samples.values())
    assert not (tmp_path / ".box.unfinished").exists()


@pytest.mark.parametrize("fact", ["threads", "processor", "onnxruntime"])
def test_an_unfinished_run_of_another_machine_is_not_taken_up(tmp_path, fact):
    with pytest.raises(CutOffError):
        profiler(tmp_path, Cut()).time_operators(KEYS)
    path = tmp_path / ".box.unfinished" / "environment.json"
    path.write_text(re.sub(rf'("{fact}": )"[^"]*"', r'\1"another"', path.read_text()))
    with pytest.raises(InputError, match=rf"timed with {fact} 'another'.*delete .* to begin anew"):
        profiler(tmp_path, FormulaTimers()).time_operators(KEYS)
    anew = FormulaTimers()
    profiler(tmp_path, anew, overwrite=True).time_operators(KEYS)
    assert len(anew.operator_calls) == 3


def test_a_device_that_lacks_nothing_is_left_as_it_is(tmp_path):
    first = profiler(tmp_path, FormulaTimers()).time_model(denoiser(), WORK)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    idle = FormulaTimers(slope=9.0)
    profiler(tmp_path, idle).time_model(denoiser(), WORK)
    assert not idle.operator_calls and not idle.plan_calls
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before


def test_only_what_is_missing_is_added_and_the_model_calibrated_again(tmp_path):
    profiler(tmp_path, FormulaTimers()).time_model(denoiser(), WORK)
    more, kept = FormulaTimers(slope=2.0), Kept((0.5,), (0.5,))
    device = profiler(tmp_path, more).time_model(denoiser(), WORK, kept)
    old = set(operators_of(denoiser().geometry, WORK))
    new = set(operators_of(denoiser().geometry, WORK, kept=kept)) - old
    assert {key for keys, _, _ in more.operator_calls for key in keys} == new
    assert set(device.table.samples) == old | new
    (calibration,) = device.info.calibrations
    assert calibration.refresh.slope == pytest.approx(2.0, rel=0.02)
    assert any(layer.kept_heads == 1 for plan in more.plan_calls[0] for layer in plan.layers)


def test_another_model_s_calibration_stands_beside_the_first(tmp_path):
    profiler(tmp_path, FormulaTimers()).time_model(denoiser(), WORK)
    other = replace(tiny_denoiser(layers=3), name="other")
    device = profiler(tmp_path, FormulaTimers(slope=2.0)).time_model(other, WORK)
    slopes = {c.model: c.refresh.slope for c in device.info.calibrations}
    assert slopes == {"tiny": pytest.approx(1.25, rel=0.05), "other": pytest.approx(2.0, rel=0.05)}
    runs = pd.read_csv(device.folder / "whole-model.csv")
    assert set(runs["model"]) == {"tiny", "other"}


def test_overwriting_times_everything_anew_and_keeps_nothing(tmp_path):
    profiler(tmp_path, FormulaTimers()).time_model(denoiser(), WORK)
    anew = FormulaTimers(scale=300.0)
    device = profiler(tmp_path, anew, overwrite=True).time_operators(KEYS)
    assert set(device.table.samples) == set(KEYS) and not device.info.calibrations
    assert not (device.folder / "whole-model.csv").exists()
    assert device.costs.cost_us(KEYS[0]) == pytest.approx(300.0 * formula_us(KEYS[0]), abs=1e-3)


@pytest.mark.parametrize(
    ("pattern", "to", "fact"),
    [
        (r"^processor = .*$", 'processor = "another"', "processor"),
        (r"^onnxruntime = .*$", 'onnxruntime = "0.1"', "onnxruntime"),
        (r"^system = .*$", 'system = "Plan9"', "system"),
        (r"^threads = 1$", "threads = 2", "threads"),
    ],
)
def test_timings_of_another_machine_are_not_mixed_with_these(tmp_path, pattern, to, fact):
    device = profiler(tmp_path, FormulaTimers()).time_operators(KEYS)
    edit(device.folder, pattern, to)
    timers = FormulaTimers()
    with pytest.raises(InputError, match=rf"{fact} .*give another --device, or --overwrite"):
        profiler(tmp_path, timers).time_operators(KEYS)
    assert not timers.operator_calls
    profiler(tmp_path, timers, overwrite=True).time_operators(KEYS)


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "a/b"])
def test_a_device_is_called_so_that_its_folder_can_be(tmp_path, name):
    with pytest.raises(InputError, match="a device's name must be letters"):
        profiler(tmp_path, FormulaTimers(), name=name).time_operators(KEYS)
    assert list(tmp_path.iterdir()) == []


def test_sessions_that_are_known_are_not_timed_again_whatever_their_number():
    timers = FormulaTimers()
    known = {KEYS[0]: ((1.0,),) * 2, KEYS[1]: ((1.0,),) * 3}
    table = profile(KEYS, timer=timers.operators, rounds=2, sessions=3, known=known)
    asked = [(set(keys), seed) for keys, _, seed in timers.operator_calls]
    assert asked == [({KEYS[2]}, 0), ({KEYS[2]}, 1), ({KEYS[0], KEYS[2]}, 2)]
    assert table.samples[KEYS[1]] == known[KEYS[1]]
    assert [len(sessions) for sessions in table.samples.values()] == [3, 3, 3]


@pytest.mark.parametrize(("rounds", "whole"), [(1, 1), (3, 3), (10, 5)])
def test_few_rounds_shorten_whole_models_too(tmp_path, rounds, whole):
    timers = MachineProfiler("box", tmp_path, Effort(threads=1, rounds=rounds))._timers
    assert timers.rounds == whole
