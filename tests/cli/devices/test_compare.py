"""compare: each device's own plan, as a shell asks for it."""

import json
from shutil import copytree

import pytest

from hwsearch.plan import CompressionPlan
from hwsearch.study import load_study

#: What gsm-mini takes on apple-m2 in `w8` is .94 of its time in `fp16`, and in `w4` .91.
TARGET = 0.93


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder for the study that all tests copy."""
    return tmp_path_factory.mktemp("searched")


@pytest.fixture
def study(run, searched, tmp_path, monkeypatch):
    """A short search whose formats three kinds of devices share in part; searched once for all tests."""
    monkeypatch.chdir(tmp_path)
    if (searched / "studies").is_dir():
        copytree(searched, tmp_path, dirs_exist_ok=True)
        return "s"
    (tmp_path / "makers.json").write_text("{}")
    code, _, err = run(
        "search", "--model", "gsm-mini", "--device", "cpu", "--target-ratio", TARGET,
        "--thresholds", "1.0", "--decoding", "makers.json", "--trials", 12, "--name", "s",
    )  # fmt: skip
    assert code == 0, err
    copytree(tmp_path, searched, dirs_exist_ok=True)
    return "s"


def compared(run, study, *flags):
    code, out, err = run(
        "compare", study, "--devices", "apple-m2,cpu", "--target-ratio", TARGET, *flags, "--json"
    )
    assert code == 0, err
    return json.loads(out)


def test_each_device_has_a_plan_of_its_own_formats_and_evaluate_tries_it(run, study):
    before = len(load_study(study).frame())
    found = compared(run, study)
    assert len(load_study(study).frame()) == before, "nothing is tried unless asked for"
    own = [row for row in found["rows"] if row["plan"] == "for apple-m2"]
    here = {row["device"]: row for row in own}
    assert here["apple-m2"]["runs"] and here["apple-m2"]["meets_target"]
    assert here["apple-m2"]["loss_is"] == "predicted"
    (best,) = (device for device in found["devices"] if device["device"] == "apple-m2")
    plan = CompressionPlan.validate(best["best_plan"])
    formats = {fmt for layer in plan.layers for fmt in layer.formats.values()}
    assert "w8a8" not in formats, "llama.cpp has none"
    assert best["runtime"] == "llama.cpp-metal"

    tried = compared(run, study, "--evaluate", 2)
    added = load_study(study).frame()
    assert before < len(added) <= before + 4
    assert added["loss"].notna().all()
    evaluated = {row["plan"] for row in tried["rows"] if row["loss_is"] == "evaluated"}
    assert f"trial {added['number'].max()}" in evaluated


def test_the_tables_name_runtimes_and_fit_a_narrow_terminal(run, study, monkeypatch):
    devices = "cpu,apple-m2,raspberry-pi-5,rtx-4090,apple-m4-max"
    monkeypatch.setattr("hwsearch.cli.devices.comparison_tables.output_width", lambda: 80)
    monkeypatch.setattr("hwsearch.cli.printing.output_width", lambda: 80)
    code, out, err = run("compare", study, "--devices", devices, "--target-ratio", TARGET)
    assert code == 0, err
    lines = out.splitlines()
    tables = [line for line in lines if line.startswith(("┏", "┃", "│", "└"))]
    assert max(map(len, tables)) <= 80
    assert all(
        word in out for word in ("llama.cpp-metal", "published", "onnxruntime-cpu", "measured")
    )
    assert out.count("every best plan on every device") == 3, "of two devices each, and one"
    assert "█" in out


def test_trying_plans_needs_a_study(run):
    flags = ("--shapes-of", "gsm-mini", "--devices", "cpu", "--evaluate", 1)
    code, out, err = run("compare", *flags)
    assert (code, out) == (2, "") and "--evaluate 1 has no effect without a study" in err
