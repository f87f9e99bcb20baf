"""A kit is run where neither hwsearch nor torch can be imported, and what it brings back is checked."""

import json
import subprocess
import sys

import pytest

from hwsearch.errors import InputError, TableError
from hwsearch.latency.kit import write_kit
from hwsearch.latency.kit_import import import_results
from hwsearch.latency.operators import OpKey

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
    path = kit.parent / "results.csv"
    done = subprocess.run(
        [sys.executable, "-I", "-c", GUARD, str(path)],
        cwd=kit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "24 samples" in done.stderr
    return path


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
        (milliseconds, "must add up to .*another unit"),
        (change(0, "sample_us", "sample_ms"), "in microseconds; got .*sample_ms"),
        (change(0, "kind,rows", "rows,kind"), "columns must be kind,rows.* in this order"),
        (change(1, "linear", "convolution"), "kind must be .*got 'convolution'"),
        (without("processor"), "the head must say 'processor'"),
        (without("onnxruntime"), "the head must say 'onnxruntime'"),
        (without("unit"), "the head must say 'unit'"),
        (lambda lines: lines[1:], "row 1: results of a kit begin with"),
        (lambda lines: [x.replace("unit: us", "unit: ms") for x in lines], "unit must be us"),
        (lambda lines: lines[: head(lines)], "no samples after the head"),
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
