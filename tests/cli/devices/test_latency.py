"""profile, predict and compare as a shell calls them."""

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import create_trial

from hwsearch.cli.devices.profile import command
from hwsearch.denoisers.loading.config import read_config
from hwsearch.latency.kit.kinds import KIT_KINDS
from hwsearch.plan import CompressionPlan
from hwsearch.study.choices.search_space import SearchSpace

GRID = "rows=2 features=32 cached=4 heads=2 head_dim=16 vocab=32"
LLADA = {
    "model_type": "llada", "d_model": 4096, "n_heads": 32, "n_kv_heads": 32, "n_layers": 32,
    "mlp_hidden_size": 12288, "embedding_size": 126464, "vocab_size": 126464,
    "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "mask_token_id": 126336,
}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "LLaDA-8B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLADA))
    return folder / "config.json"


@pytest.fixture
def study(tmp_path):
    """A study of three uniform plans, with the losses that they are given."""
    layers = read_config("gsm-mini").geometry.num_layers
    space = SearchSpace(num_layers=layers, thresholds=(1.0,), formats=("fp32", "w8a8", "w8"))
    found = optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/s.db")
    attributes = {
        "model": "gsm-mini",
        "device": "cpu",
        "space": space.model_dump_json(),
        "workload": json.dumps({"prompt_length": 27}),
        "decoding": read_config("gsm-mini").decoding.model_dump_json(),
        "target_ms": 150.0,
    }
    for name, value in attributes.items():
        found.set_user_attr(name, value)
    named = dict(space.distributions())
    for fmt, loss in (("fp32", 0.0), ("w8a8", 0.02), ("w8", 0.001)):
        plan = CompressionPlan.uniform(layers, fmt, fmt, head=fmt)
        figures = {"generation_ms": 1.0, "size_bytes": 1}
        found.add_trial(
            create_trial(
                params=space.params(plan), distributions=named, value=loss, user_attrs=figures
            )
        )
    return tmp_path / "s.db"


def test_one_study_on_measured_published_and_modelled_devices(run, study, tmp_path):
    csv, picture = tmp_path / "c.csv", tmp_path / "c.png"
    devices = "cpu,apple-m2,h200-sxm"
    code, out, err = run(
        "compare", study, "--devices", devices, "--csv", csv, "--picture", picture, "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    by_name = {device["device"]: device for device in found["devices"]}
    assert [d["provenance"] for d in found["devices"]] == ["measured", "published", "modelled"]
    assert by_name["cpu"]["runs"] == 3
    assert by_name["apple-m2"]["runs"] == 2, "no w8a8 there"
    assert by_name["h200-sxm"]["runs"] == 2, "no w8 there"
    assert by_name["apple-m2"]["note"] == "fp32 is run as fp16"
    for row in found["cross"]:
        costs = [row[name]["more_than_best"] for name in by_name if row[name]["cost"] is not None]
        assert costs
    frame = pd.read_csv(csv)
    assert len(frame) == 9
    assert frame["runs"].sum() == 7
    assert (frame.loc[~frame["runs"], "why_not"].str.startswith("no w8")).all()
    assert frame.groupby("device")["best"].sum().max() == 1
    measured = frame[(frame["device"] == "cpu") & (frame["plan"] == "trial 0")].iloc[0]
    assert measured["p10_ms"] < measured["generation_ms"] < measured["p90_ms"]
    assert picture.stat().st_size > 1000


def test_the_cross_table_is_printed(run, study):
    code, out, err = run("compare", study, "--devices", "cpu,apple-m2", "--target-ratio", "1")
    assert code == 0, err
    assert "every best plan on every device" in out
    assert "published" in out and "measured" in out
    assert "fp32 is run as fp16" in out


def test_published_devices_compare_for_the_sizes_of_a_model_alone(run, config):
    devices = "apple-m2-max,apple-m4-max,rtx-4090"
    code, out, err = run("compare", "--shapes-of", config, "--devices", devices, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {device["provenance"] for device in found["devices"]} == {"published"}
    assert any("no loss is known" in remark for remark in found["remarks"])
    ms = {row["device"]: row["generation_ms"] for row in found["rows"] if row["plan"] == "all w4"}
    assert ms["rtx-4090"] < ms["apple-m4-max"] < ms["apple-m2-max"]


def test_energy_is_compared_between_power_modes(run, config):
    modes = ",".join(f"jetson-orin-nano-super-{mode}" for mode in ("7w", "15w", "25w"))
    code, out, err = run(
        "compare", "--shapes-of", config, "--devices", modes, "--objective", "energy", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["unit"] == "J"
    for row in found["rows"]:
        if row["runs"]:
            assert row["joules"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "--devices", "cpu"), "exactly one of STUDY and --shapes-of"),
        (("compare", "nope", "--devices", "cpu"), "unknown study 'nope'"),
        (("compare", "--shapes-of", "gsm-mini", "--devices", ","), "at least one device"),
        (("compare", "--shapes-of", "gsm-mini", "--devices", "cpp"), "unknown device 'cpp'"),
        (("profile", "--grid", "rows=1"), "grid: .* is missing"),
        (
            ("profile", "--import", "none.csv", "--device", "x"),
            "cannot read file of results none.csv",
        ),
        (("profile", "--import", "none.csv"), "--import needs --device NAME"),
        (("profile", "--device", "../x", "--grid", GRID), r"a device's name must be .*got '../x'"),
        (("profile", "--device", "", "--grid", GRID), "a device's name must be .*got ''"),
        (("profile", "--kit", "k", "--import", "r"), "one of .*; got --kit and --import"),
        (("profile", "--for", "llama.cpp"), "--for llama.cpp says what a kit is for; add --kit"),
        (("profile", "--threads", "0"), r"0 is not in the range x>=1"),
        (("predict", "p.json", "--prompt-length", "0"), r"0 is not in the range x>=1"),
        (("profile", "--dry-run"), "--dry-run is for --runtime torch-cuda and torch-cpu"),
        (("profile", "--runtime", "torch-cpu", "--grid", "rows=1"), "is timed by onnxruntime-cpu"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, tmp_path, monkeypatch, arguments, said):
    import re

    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert re.search(said, err), err
    assert err.startswith("Usage: ") or len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_prediction_says_how_sure_it_is_and_what_binds(run, tmp_path):
    layers = read_config("gsm-mini").geometry.num_layers
    path = tmp_path / "plan.json"
    path.write_text(CompressionPlan.uniform(layers, "w8a8", "w4", head="w8").to_json())
    arguments = ("predict", path, "--device", "cpu", "--prompt-length", 27)
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    low, high = found["percentiles_10_90_ms"]["generation"]
    assert low < found["generation_ms"] < high
    assert sum(part["ms"] for part in found["where"].values()) == pytest.approx(
        found["generation_ms"]
    )
    assert set(found["binding"]) == {"refresh", "step"}
    code, out, _ = run(*arguments)
    assert code == 0
    assert "binds a refresh" in out and "only to compare formats" in out
    code, _, err = run(*arguments, "--objective", "energy")
    assert code == 2
    assert "cpu has no [power]" in err


def test_a_threshold_needs_weights_and_a_config_has_none(run, config, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(CompressionPlan.uniform(32, "w4", "w4", 0.5, head="w4").to_json())
    code, _, err = run("predict", path, "--model", config, "--device", "apple-m2")
    assert code == 2
    assert "sink_threshold of 0.5 keeps follows from weights" in err
    path.write_text(CompressionPlan.uniform(32, "w4", "w4", head="w4").to_json())
    code, out, err = run("predict", path, "--model", config, "--device", "apple-m2", "--json")
    assert code == 0, err
    assert json.loads(out)["provenance"] == "published"


def test_a_kit_is_written_for_a_grid(run, tmp_path):
    grid = "rows=2 features=32 cached=4 heads=2 head_dim=16 vocab=32"
    code, out, err = run("profile", "--kit", tmp_path / "kit", "--grid", grid, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["operators"] == len(list((tmp_path / "kit" / "graphs").iterdir()))
    assert (tmp_path / "kit" / "measure.py").is_file()
    assert document["whole_models"] == 0


def test_a_kit_is_written_for_node_and_browsers(run, tmp_path):
    grid = "rows=2 features=32 cached=4 heads=2 head_dim=16 vocab=32"
    asked = ("profile", "--kit", tmp_path / "kit", "--for", "onnxruntime-web", "--grid", grid)
    code, out, err = run(*asked, "--formats", "fp8", "--json")
    assert code == 2
    assert "onnxruntime-web does not load fp8; it has fp32, " in err
    assert not (tmp_path / "kit").exists()
    code, out, err = run(*asked, "--json")
    assert code == 0, err
    assert json.loads(out)["command"] == "npm install && node measure.mjs"
    assert (tmp_path / "kit" / "measure.mjs").is_file()
    assert (tmp_path / "kit" / "index.html").is_file()


def test_every_kind_of_kit_can_be_asked_for():
    (option,) = [one for one in command.params if one.name == "kit_for"]
    assert {*option.type.choices} == {*KIT_KINDS, "llama.cpp"}


TINY = {
    "model_type": "llama", "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 64, "hidden_act": "silu",
    "hwsearch": {
        "decoding": {"gen_length": 8, "block_length": 4, "steps": 8, "refresh_interval": 2}
    },
}  # fmt: skip


@pytest.mark.slow
def test_a_kit_is_written_measured_imported_and_predicted(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "other"):
        Path(name).mkdir()
        Path(name, "config.json").write_text(json.dumps(TINY))
    sizes = ("--shapes-of", "tiny/config.json", "--prompt-length", 6)
    code, _, err = run("profile", "--kit", "kit", *sizes)
    assert code == 0, err
    assert "8 whole models of 2 layers" in " ".join(err.split())
    measure = [sys.executable, "-I", "measure.py", "--rounds", "2", "--sessions", "2"]
    subprocess.run(measure, cwd="kit", check=True, capture_output=True)
    code, out, err = run("profile", "--import", "kit/results.csv", "--device", "board", "--json")
    assert code == 0, err
    assert json.loads(out)["device"]["calibrations"][0]["model"] == "tiny"
    Path("plan.json").write_text(CompressionPlan.uniform(2, "w8a8", "w4").to_json())
    on_board = ("predict", "plan.json", "--device", "board", "--prompt-length", 6)
    code, out, err = run(*on_board, "--model", "tiny/config.json", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["calibrated"] and found["percentiles_10_90_ms"] is not None
    code, out, err = run(*on_board, "--model", "other/config.json")
    assert code == 0, err
    assert "uncalibrated" in out and "no percentiles" in out
    code, out, err = run("profile", "--import", "kit/results.csv", "--device", "board")
    assert code == 2 and "exists already" in err


def test_a_grid_is_timed_resumed_and_then_left_alone(run, tmp_path):
    grid = "rows=2 features=32 cached=4 heads=2 head_dim=16 vocab=32"
    arguments = ("profile", "--device", "box", "-o", tmp_path, "--rounds", 2, "--grid", grid)
    code, out, err = run(*arguments, "--sessions", 1, "--json")
    assert code == 0, err
    first = json.loads(out)
    assert first["device"]["calibrations"] == []
    table = tmp_path / "box" / "onnxruntime-cpu.csv"
    before = table.read_text()
    assert run(*arguments, "--sessions", 1)[0] == 0
    assert table.read_text() == before
    code, out, _ = run(*arguments, "--sessions", 2, "--json")
    assert json.loads(out)["device"]["samples"] == 2 * first["device"]["samples"]
    kept = {line for line in before.splitlines() if ",0," in line}
    assert kept <= set(table.read_text().splitlines()), "old samples stay"
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


@pytest.fixture
def broken_devices(tmp_path, monkeypatch):
    """Devices beside the shipped ones: a roofline without a format, and files that are damaged."""
    from hwsearch.latency.devices.places import CHECKOUT

    tables = tmp_path / "latency_tables"
    for name in ("no-file", "no-toml-syntax", "no-table"):
        (tables / name).mkdir(parents=True)
    good = (CHECKOUT / "cpu" / "device.toml").read_text()
    (tables / "no-toml-syntax" / "device.toml").write_text("name = ")
    (tables / "no-table" / "device.toml").write_text(good.replace('"cpu"', '"no-table"', 1))
    monkeypatch.chdir(tmp_path)
    return ["no-toml-syntax", "no-table", "no-file"]


def test_one_device_that_cannot_price_is_a_row_that_says_why(run, broken_devices, config):
    names = ",".join(["apple-m2", *broken_devices])
    code, out, err = run("compare", "--shapes-of", config, "--devices", names, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [device["device"] for device in found["devices"]] == ["apple-m2"]
    assert [device["name"] for device in found["unpriced"]] == broken_devices
    assert all(device["why_not"] for device in found["unpriced"])
    rows = {row["device"]: row for row in found["rows"] if row["device"] in broken_devices}
    assert set(rows) == set(broken_devices)
    assert all(not row["runs"] and row["why_not"] for row in rows.values())
    code, out, _ = run("compare", "--shapes-of", config, "--devices", names)
    assert code == 0 and out.count("cannot price: ") == 3


def test_energy_of_a_device_without_power_is_a_row(run, config):
    devices = "apple-m2,jetson-orin-nano-super-15w"
    flags = ("--shapes-of", config, "--devices", devices, "--objective", "energy")
    code, out, err = run("compare", *flags, "--json")
    assert code == 0, err
    assert "[power]" in json.loads(out)["unpriced"][0]["why_not"]


def test_where_no_device_can_price_all_reasons_are_told(run, broken_devices, config):
    names = ",".join(broken_devices[:2])
    code, out, err = run("compare", "--shapes-of", config, "--devices", names)
    assert (code, out) == (2, "")
    assert all(name in err for name in broken_devices[:2]) and len(err.splitlines()) == 1


def test_a_device_nobody_knows_is_a_slip_of_the_pen(run, config):
    code, out, err = run("compare", "--shapes-of", config, "--devices", "apple-m2,aple-m2")
    assert (code, out) == (2, "") and "did you mean 'apple-m2'" in err
