import importlib
import math
import sys
from collections import Counter
from pathlib import Path

import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import MissingShapeError, TableError
from hwsearch.latency.devices.device import (
    Device,
    DeviceInfo,
    Provenance,
    load_device,
    read_info,
)
from hwsearch.latency.devices.places import CHECKOUT
from hwsearch.latency.devices.roofline import (
    FormatRate,
    Roofline,
    TimedPass,
    fit_memory,
    fit_rate,
    moved_bytes,
    operations,
    parts_of,
)
from hwsearch.latency.operators import OpKey, Workload, step_operators
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.prediction.uncertainty import ROWS_ERROR
from hwsearch.plan import CompressionPlan, Decoding

STUDY = CHECKOUT.parent / "studies/published-devices"
CSV = CHECKOUT.parents[1] / "shared/data/devices/published_benchmarks.csv"
LLADA = Geometry(126464, 4096, 32, 32, 32, 128, 12288, rope_theta=500000.0)
WORK = Workload(128, Decoding(gen_length=128, block_length=32, steps=128, refresh_interval=32))
RATES = {"fp16": ("F16", 2.0, 10.0), "w4": ("Q4_0", 0.5, 8.0)}
ROOFLINE = Roofline(
    bandwidth_gbps=100.0,
    operator_us=5.0,
    rates={
        fmt: FormatRate(stands_for=name, bytes_per_weight=size, tflops=tflops)
        for fmt, (name, size, tflops) in RATES.items()
    },
)


def shipped() -> dict[str, DeviceInfo]:
    infos = (read_info(path) for path in sorted(CHECKOUT.glob("*/device.toml")))
    return {info.name: info for info in infos if info.roofline is not None}


def test_a_linear_by_hand():
    key = OpKey("linear", 3, 1000, 2000, format="w4")
    parts = ROOFLINE.parts(key)
    assert parts.memory_us == pytest.approx((1e6 + 3 * 3000 * 2) / 1e11 * 1e6)
    assert parts.compute_us == pytest.approx(2 * 2 * 2e6 / 8e12 * 1e6)  # two rows beyond the first
    assert ROOFLINE.cost_us(key) == pytest.approx(parts.memory_us + parts.compute_us + 5.0)


def test_attention_reads_keys_and_values_and_mass_costs_more():
    key = OpKey("attention", 4, 100, 64, 8)
    assert moved_bytes(key, 9.9) == 2 * (4 + 100) * 64 * 2
    assert operations(key) == 4 * 3 * 100 * 64
    assert ROOFLINE.cost_us(OpKey("attention-mass", 4, 100, 64, 8)) > ROOFLINE.cost_us(key)


def test_one_row_costs_memory_and_start_up_alone():
    assert ROOFLINE.parts(OpKey("linear", 1, 64, 64, format="fp16")).compute_us == 0


def test_a_format_without_a_rate_is_refused_by_name():
    with pytest.raises(MissingShapeError, match=r"no rate for linear 1 x 8 x 8 fp32.*fp16, w4"):
        ROOFLINE.cost_us(OpKey("linear", 1, 8, 8))
    assert ROOFLINE.formats() == ["fp16", "w4"]


def test_fits_recover_the_numbers_that_made_the_passes():
    passes = [TimedPass(size, work, 291, 0.0) for size, work in ((13e9, 0), (4e9, 0), (4e9, 6e12))]
    timed = [
        TimedPass(p.moved_bytes, p.operations, p.operators, p.predict_ms(350.0, 17.0, 9.0))
        for p in passes
    ]
    assert fit_memory(timed[:2]) == (pytest.approx(350.0), pytest.approx(17.0))
    assert fit_rate(timed[2], 350.0, 17.0) == pytest.approx(9.0)


def test_start_up_is_never_negative():
    passes = [TimedPass(1e9, 0, 100, 1.0), TimedPass(2e9, 0, 100, 3.0)]
    bandwidth, operator_us = fit_memory(passes)
    assert operator_us == 0
    assert 1e9 / 3e6 < bandwidth < 1e9 / 1e6


def test_passes_that_cannot_be_fitted_are_refused():
    with pytest.raises(TableError, match="need two passes; got 1"):
        fit_memory([TimedPass(1e9, 0, 10, 1.0)])
    with pytest.raises(TableError, match=r"alone take the 1\.00 ms"):
        fit_rate(TimedPass(1e9, 1e9, 10, 1.0), 100.0, 5.0)


def test_what_binds_is_the_largest_part():
    few, many = (OpKey("linear", rows, 4096, 4096, format="fp16") for rows in (2, 2000))
    assert parts_of(ROOFLINE, Counter({few: 3})).binding == "memory"
    assert parts_of(ROOFLINE, Counter({few: 3, many: 1})).binding == "compute"
    assert parts_of(ROOFLINE, Counter({OpKey("norm", 1, 64): 9})).binding == "overhead"


def test_every_shipped_device_says_where_it_comes_from():
    infos = shipped()
    published = [info for info in infos.values() if info.provenance is Provenance.PUBLISHED]
    assert len(published) >= 18
    for info in infos.values():
        assert info.sources and info.caveats
        if info.provenance is Provenance.PUBLISHED:
            held_out = info.held_out_error is not None
            assert held_out or any("no format could be held out" in c for c in info.caveats)
        else:
            assert not info.checks


def test_held_out_formats_are_within_five_percent_on_eight_devices():
    """Every format of three, held out in turn: decode, and prefill of the quantised two."""
    of_three = {
        info.name: info.held_out_error
        for info in shipped().values()
        if len({c.format for c in info.checks if c.held_out == "format" and c.rows == 1}) == 3
    }
    good = {name for name, error in of_three.items() if error <= 0.05}
    assert len(good) >= 8, of_three
    assert {"apple-m2", "apple-m4-max", "ryzen-7950x"} <= good


def test_eight_bits_are_within_five_percent_from_sixteen_and_four():
    errors = {
        info.name: check.error
        for info in shipped().values()
        for check in info.checks
        if check.held_out == "format" and check.rows == 1 and check.format == "Q8_0"
    }
    assert len(errors) >= 11
    assert max(map(abs, errors.values())) <= 0.05, errors


def test_small_rows_are_within_fifteen_and_a_half_percent():
    checks = [c for info in shipped().values() for c in info.checks if c.held_out == "rows"]
    assert {check.rows for check in checks} == {16, 32, 64, 128, 256}
    assert max(abs(check.error) for check in checks) <= 0.155


def test_percentiles_of_published_devices_hold_the_error_of_small_passes():
    checks = [c for info in shipped().values() for c in info.checks if c.held_out == "rows"]
    square = sum(math.log1p(check.error) ** 2 for check in checks) / len(checks)
    assert math.sqrt(square) == pytest.approx(ROWS_ERROR, abs=0.002)
    plan = CompressionPlan.uniform(32, "w4", "w4", head="w4")
    for name, known in (("apple-m2", True), ("apple-m1", False), ("h200-sxm", False)):
        found = Predictor(load_device(CHECKOUT / name), LLADA, WORK).predict(
            KeptPlan.keeping_all(plan)
        )
        assert (found.intervals_ms is not None) == known
        if found.intervals_ms is not None:
            low, high = found.intervals_ms.generation
            assert high / low > math.exp(2 * 1.28 * ROWS_ERROR)


@pytest.mark.skipif(not CSV.is_file(), reason=f"the published rows are not at {CSV}")
def test_the_shipped_devices_are_what_the_study_fits(monkeypatch):
    monkeypatch.syspath_prepend(STUDY)
    study = importlib.import_module("fit")
    try:
        fitted = {info.name: info for info in study.fit_all(CSV)}
    finally:
        for name in ("fit", "rows", "recipes", "models"):
            sys.modules.pop(name, None)
    assert fitted == shipped()


@pytest.mark.parametrize("fmt", ["fp16", "w8", "w4"])
def test_llada_on_a_published_device(fmt):
    device = load_device(CHECKOUT / "apple-m2-max")
    predictor = Predictor(device, LLADA, WORK)
    plan = CompressionPlan.uniform(32, fmt, fmt, head=fmt)
    latency = predictor.predict(KeptPlan.keeping_all(plan))
    assert 0.5 < 1e3 * 128 / latency.generation_ms < 20
    assert predictor.binding(KeptPlan.keeping_all(plan)) == ("compute", "compute")
    # one row is decoding: weights at the device's bandwidth
    block = Workload(128, Decoding(gen_length=1, block_length=1, steps=1, refresh_interval=1))
    parts = parts_of(device.info.roofline, step_operators(LLADA, KeptPlan.keeping_all(plan), block))
    assert parts.binding == "memory"
    assert 8 < 1e6 / parts.total_us < 100


def test_formats_that_move_less_are_faster_and_unknown_ones_refused():
    device = load_device(CHECKOUT / "apple-m2-max")
    predictor = Predictor(device, LLADA, WORK)
    times = {
        fmt: predictor.predict(
            KeptPlan.keeping_all(CompressionPlan.uniform(32, fmt, fmt, head=fmt))
        ).step_ms
        for fmt in device.costs.formats()
    }
    assert times["w4"] < times["w8"] < times["fp16"]
    assert device.uncompressed(32).head == "fp16"
    with pytest.raises(MissingShapeError, match="fp32"):
        predictor.predict(KeptPlan.keeping_all(CompressionPlan.uniform(32)))


def test_energy_is_power_times_time_where_power_was_published():
    device = load_device(CHECKOUT / "jetson-orin-nano-super-25w")
    plan = CompressionPlan.uniform(32, "w4", "w4", head="w4")
    latency = Predictor(device, LLADA, WORK).predict(KeptPlan.keeping_all(plan))
    assert latency.generation_joules == pytest.approx(8.56 * latency.generation_ms / 1e3)
    silent = Predictor(load_device(CHECKOUT / "apple-m2"), LLADA, WORK)
    assert silent.predict(KeptPlan.keeping_all(plan)).generation_joules is None


def test_a_device_with_a_roofline_has_no_table():
    info = shipped()["apple-m2"]
    assert info.roofline is not None
    with pytest.raises(TableError, match="apple-m2 is published: it has no timings"):
        _ = Device(info, info.roofline, Path("apple-m2")).table


GOOD = (CHECKOUT / "h200-sxm/device.toml").read_text(encoding="utf-8")
CHECK = (
    '[[checks]]\nheld_out = "format"\nmodel = "m"\nformat = "Q8_0"\nrows = 1\n'
    'predicted_ms = 1.0\npublished_ms = 1.0\nsource = "s"\n'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('provenance = "modelled"', ""), "provenance: missing"),
        (GOOD.replace('"modelled"', '"guessed"'), "provenance: .*got 'guessed'"),
        (GOOD.replace('"modelled"', '"measured"'), "a measured device has a table"),
        ("speed = 3\n" + GOOD, "speed: no such key"),
        (GOOD.replace("bandwidth_gbps = 4800.0", "bandwidth_gbps = -4800.0"), "got -4800.0"),
        (GOOD.replace("bandwidth_gbps = 4800.0", "bandwidth_gbps = nan"), "bandwidth_gbps"),
        (GOOD.replace("operator_us = 0.0", "operator_us = -1.0"), "operator_us: .*got -1.0"),
        (GOOD.replace("rates.w4", "rates.int3"), "int3"),
        (GOOD.replace("tflops = 1979.0", "tflops = 0"), "rates.fp8.tflops: .*got 0"),
        (GOOD.replace("sources = [", "source = ["), "source: no such key"),
        (GOOD[: GOOD.index("sources")] + GOOD[GOOD.index("[roofline]") :], "needs sources"),
        (GOOD + CHECK, "a modelled device claims no accuracy"),
        (GOOD[:60] + "\n= 3", "not TOML"),
    ],
)
def test_a_bad_device_folder_is_refused_by_key(tmp_path, text, said):
    assert text != GOOD
    (tmp_path / "device.toml").write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=said) as refused:
        load_device(tmp_path)
    assert str(tmp_path) in str(refused.value)
