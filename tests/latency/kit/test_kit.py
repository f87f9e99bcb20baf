"""A kit is run where neither hwsearch nor torch can be imported, and what it brings back is checked."""

import dataclasses
import json
import subprocess
import sys

import pandas as pd
import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.errors import InputError, TableError
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.kit.importer import import_results, whole_runs
from hwsearch.latency.kit.models import MODEL_BYTES, kit_models, pass_bytes
from hwsearch.latency.kit.writer import write_kit
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.timing.operator_times import operators_of
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.testing.tiny import tiny_geometry

KEYS = [
    OpKey("linear", 3, 64, 32),
    OpKey("linear", 3, 64, 32, format="w4"),
    OpKey("linear", 3, 64, 32, format="w8a8"),
    OpKey("attention", 4, 11, 64, 4, kv_heads=2),
    OpKey("attention-mass", 4, 4, 64, 4),
    OpKey("predict", 3, 50),
]

#: Refuses what a small board does not have.
GUARD = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hwsearch", "torch", "onnx", "pandas", "scipy", "pydantic"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.argv = ["measure.py", "--rounds", "2", "--sessions", "2", "-o", sys.argv[1]]
runpy.run_path("measure.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return write_kit(KEYS, tmp_path_factory.mktemp("kit") / "board")


@pytest.fixture(scope="module")
def results(kit):
    path, said = measured(kit)
    assert "24 samples" in said
    return path


def measured(kit):
    """Results of a kit's script, and what it said."""
    path = kit.parent / "results.csv"
    done = subprocess.run(
        [sys.executable, "-I", "-c", GUARD, str(path)],
        cwd=kit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return path, done.stderr


def test_graphs_are_small_and_hold_no_weights(kit):
    document = json.loads((kit / "kit.json").read_text())
    assert [operator["key"]["kind"] for operator in document["operators"]] == [
        key.kind for key in KEYS
    ]
    assert all(path.stat().st_size < 20_000 for path in (kit / "graphs").iterdir())
    assert document["operators"][0]["weights"]["linear0.weight"] == ["float32", [64, 32]]
    with pytest.raises(InputError, match="exists already"):
        write_kit(KEYS, kit)


def test_results_become_a_device(results, tmp_path):
    device = import_results(results, "board", tmp_path)
    assert set(device.table.samples) == set(KEYS)
    assert all(len(parts) == 2 and len(parts[0]) == 2 for parts in device.table.samples.values())
    assert device.info.provenance == "measured"
    assert device.info.environment["onnxruntime"]
    assert device.info.samples == 24
    assert device.info.held_out_error is None
    assert device.info.calibrations == ()
    assert any("uncalibrated" in caveat for caveat in device.info.caveats)
    with pytest.raises(InputError, match="exists already"):
        import_results(results, "board", tmp_path)
    assert import_results(results, "board", tmp_path, overwrite=True).info == device.info


def head(lines):
    return sum(line.startswith("#") for line in lines)


def drop_last(lines):
    return lines[:-1]


def cut_within(lines):
    return [*lines[:-1], lines[-1][:14]]


def without(name):
    return lambda lines: [line for line in lines if not line.startswith(f"# {name}:")]


def change(row, old, new):
    """Replace in a row of samples; row 0 is the columns."""

    def changed(lines):
        place = head(lines) + row
        assert old in lines[place]
        return [*lines[:place], lines[place].replace(old, new), *lines[place + 1 :]]

    return changed


def sample(row, value):
    def changed(lines):
        place = head(lines) + row
        cells = lines[place].split(",")
        return [*lines[:place], ",".join([*cells[:-1], value]), *lines[place + 1 :]]

    return changed


def swap(lines):
    place = head(lines) + 1
    return [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]


def double(lines):
    place = head(lines) + 1
    return [*lines[: place + 1], *lines[place:-1]]


def exchange(lines):
    """Two samples change places, so that neither order nor sum tells."""
    first, second = (head(lines) + row for row in (1, 2))
    cells = [line.split(",") for line in lines]
    cells[first][-1], cells[second][-1] = cells[second][-1], cells[first][-1]
    return [",".join(row) for row in cells]


def milliseconds(lines):
    place = head(lines) + 1
    cells = [line.split(",") for line in lines[place:]]
    return [*lines[:place], *(",".join([*c[:-1], f"{float(c[-1]) / 1e3:.6f}"]) for c in cells)]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop_last, "must have 24 samples .*got 23: it was truncated"),
        (cut_within, r"row \d\d: .*got nan"),
        (swap, r"row \d\d: sample must be 0 here: .*moved"),
        (double, r"row \d\d: sample must be 1 here: .*there twice"),
        (sample(3, "-1.0"), r"row \d\d: sample_us must lie between .*got .*-1.0"),
        (sample(3, "nan"), r"row \d\d: sample_us must lie .*got .*nan"),
        (sample(3, "quick"), r"row \d\d: sample_us must be a number"),
        (exchange, "sha256 must be that of the other rows"),
        (
            change(1, "linear", "refresh"),
            r"row \d\d: a whole pass must be one of .*refresh of 3 rows",
        ),
        (milliseconds, "must add up to .*another unit"),
        (change(0, "sample_us", "sample_ms"), "in microseconds; got .*sample_ms"),
        (change(0, "kind,rows", "rows,kind"), "columns must be kind,rows.* in this order"),
        (change(1, "linear", "convolution"), "kind must be .*got 'convolution'"),
        (without("processor"), "the head must say 'processor'"),
        (without("onnxruntime"), "the head must say 'onnxruntime'"),
        (without("unit"), "the head must say 'unit'"),
        (lambda lines: lines[1:], "row 1: results of a kit begin with"),
        (lambda lines: [x.replace("unit: us", "unit: ms") for x in lines], "unit must be us"),
        (lambda lines: lines[: head(lines)], "samples after the head"),
    ],
)
def test_damaged_results_are_refused_and_leave_nothing(results, tmp_path, damage, said):
    lines = results.read_text().splitlines()
    changed = damage(lines)
    assert changed != lines
    path = tmp_path / "results.csv"
    path.write_text("\n".join(changed) + "\n")
    with pytest.raises(TableError, match=said) as refused:
        import_results(path, "board", tmp_path / "out")
    assert str(path) in str(refused.value)
    assert not (tmp_path / "out").exists()


GEOMETRY = tiny_geometry(layers=2, hidden=64, heads=2, grouped=True)
WORK = Workload(6, Decoding(gen_length=32, block_length=16, steps=8, refresh_interval=2))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results of a kit that ran whole models."""
    models = kit_models("tiny", GEOMETRY, WORK)
    folder = tmp_path_factory.mktemp("whole") / "board"
    write_kit(operators_of(GEOMETRY, WORK), folder, models)
    graphs = [path for path in (folder / "graphs").iterdir() if path.name[0] in "rs"]
    assert len(graphs) == 2 * len(models.plans)
    assert all(path.stat().st_size < 100_000 for path in graphs)
    return measured(folder)[0]


def test_whole_models_of_a_kit_calibrate_its_sums(whole, tmp_path):
    models = kit_models("tiny", GEOMETRY, WORK)
    assert {share for entry in models.plans for share in entry.kept_shares} > {1.0}
    device = import_results(whole, "board", tmp_path)
    calibration = device.info.calibration("tiny")
    assert calibration.refresh.plans == calibration.step.plans == len(models.plans)
    assert calibration.refresh.scatter is not None
    assert {key.kind for key in device.table.samples}.isdisjoint({"refresh", "step"})
    kept = pd.read_csv(tmp_path / "board" / "whole-model.csv")
    assert len(kept) == len(models.plans) and kept["fitted"].all()
    predictor = Predictor(device, GEOMETRY, WORK, calibration)
    predicted = [predictor.predict(entry.kept) for entry in models.plans]
    for part in ("refresh", "step"):
        expected = [getattr(found, f"{part}_ms") for found in predicted]
        assert kept[f"{part}_predicted_ms"].tolist() == pytest.approx(expected)
    found = predictor.predict(KeptPlan.drawn(CompressionPlan.uniform(2, "w8a8", "w8"), (1.0, 0.6)))
    low, high = found.intervals_ms.generation
    assert low < found.generation_ms < high


def test_sessions_of_whole_models_are_brought_to_one_pace(whole, tmp_path):
    """One run that was disturbed in the session of middle pace is outvoted by the two others."""
    models = kit_models("tiny", GEOMETRY, WORK)
    device = import_results(whole, "board", tmp_path)
    paces, keys = (1.0, 1.2, 1.4), models.keys()
    samples = {key: tuple((pace * 1e3,) for pace in paces) for key in keys}
    samples[models.key(0, 1)] = ((1e3,), (1.15 * 1.2e3,), (1.4e3,))
    runs = whole_runs(models, device.table, LatencyTable(samples, "passes"), device)
    disturbed, *others = (run.measured[1] for run in runs)
    assert others == pytest.approx([others[0]] * len(others))
    assert disturbed == pytest.approx(others[0], rel=0.001)
    assert others[0] == pytest.approx(1.2, rel=0.05)


def without_whole(lines):
    return [line for line in lines if not line.startswith("# whole:")]


def fewer_plans(lines):
    """The head forgets the last plan."""
    place = next(i for i, line in enumerate(lines) if line.startswith("# whole:"))
    whole = json.loads(lines[place].removeprefix("# whole:"))
    whole["plans"].pop()
    return [*lines[:place], f"# whole: {json.dumps(whole)}", *lines[place + 1 :]]


def other_plan(lines):
    """The head says another format than was run."""
    place = next(i for i, line in enumerate(lines) if line.startswith("# whole:"))
    return [*lines[:place], lines[place].replace('"w8a8"', '"w4"', 1), *lines[place + 1 :]]


def without_a_pass(lines):
    """A pass's samples are taken away, and the head's counts with them."""
    kept = [line for line in lines if not line.startswith("step,16,1,")]
    count = next(line for line in lines if line.startswith("# operators:"))
    fewer = f"# operators: {int(count.split()[-1]) - 1}"
    return [fewer if line == count else line for line in kept]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop_last, "it was truncated"),
        (without_whole, r"row \d+: a whole pass must be .* names under 'whole'; got 'refresh of"),
        (fewer_plans, r"row \d+: a whole pass must be .*plan 8'"),
        (other_plan, "sha256 must be that of the other rows"),
        (without_a_pass, "must add up to"),
        (lambda lines: [x.replace("kept_shares", "shares") for x in lines], "whole: plans.0"),
        (
            lambda lines: [x.replace('"num_layers": 2', '"num_layers": 3') for x in lines],
            "3 layers",
        ),
        (
            lambda lines: [x.replace('"vocab_size": 64', f'"vocab_size": {10**15}') for x in lines],
            "geometry: vocab_size must be from 1 to",
        ),
        (
            lambda lines: [x.replace('"num_kv_heads": 1', '"num_kv_heads": 0') for x in lines],
            "geometry: num_kv_heads must be from 1 to",
        ),
    ],
)
def test_damaged_whole_models_are_refused_and_leave_nothing(whole, tmp_path, damage, said):
    lines = whole.read_text().splitlines()
    changed = damage(lines)
    assert changed != lines
    path = tmp_path / "results.csv"
    path.write_text("\n".join(changed) + "\n")
    with pytest.raises(TableError, match=said):
        import_results(path, "board", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_import_with_windows_line_ends_is_the_same(results, tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(results.read_bytes().replace(b"\n", b"\r\n"))
    assert import_results(path, "board", tmp_path).info.samples == 24


def test_a_model_too_large_for_a_board_is_cut_or_left_out():
    large = dataclasses.replace(GEOMETRY, hidden_size=2048, intermediate_size=8192, num_layers=40)
    models = kit_models("large", large, WORK)
    assert 2 <= models.geometry.num_layers < models.model_layers == 40
    assert pass_bytes(models) <= MODEL_BYTES
    huge = dataclasses.replace(large, vocab_size=126464, hidden_size=4096)
    assert kit_models("huge", huge, WORK) is None
    assert kit_models("causal", dataclasses.replace(GEOMETRY, causal=True), WORK) is None
