import json
import subprocess
import sys
import tomllib

import pytest

from hwsearch.cli.main import VERBS
from hwsearch.plan import CompressionPlan


def test_help_lists_every_verb(run):
    code, out, _ = run("--help")
    assert code == 0
    for verb, (_, line) in VERBS.items():
        assert verb in out
        assert line.split(",")[0][:30] in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert "--json" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "gsm-mni"), "unknown model 'gsm-mni'"),
        (("evaluate", "gsm-mini", "--decoding", "none.json"), "cannot read decoding none.json"),
        (("evaluate", "gsm-mini", "--task", "gsm9k"), "unknown task 'gsm9k'; did you mean 'gsm8k'"),
        (("search", "--model", "gsm-mini", "--device", "cpu"), "exactly one of target_ms"),
        (("search", "--device", "cpu", "--target-ratio", "0.5"), "model: missing"),
        (
            ("search", "--model", "m", "--device", "d", "--target-ms", "1", "--formats", "int3"),
            "space.formats.0: .*got 'int3'",
        ),
        (("search", "none.toml"), "cannot read study none.toml"),
        (("front", "nope"), "unknown study 'nope'"),
        (("generate", "nowhere", "how many?"), "nowhere: no such bundle folder"),
        (("verify", "nowhere"), "nowhere: no such bundle folder"),
        (("predict", "none.json"), "cannot read plan none.json"),
        (("ls", "modles"), "modles"),
        (("frobnicate",), "No such command"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, arguments, said, tmp_path, monkeypatch):
    import re

    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert re.search(said, err), err
    if err.startswith("error: "):
        assert len(err.splitlines()) == 1


def test_an_unknown_device_says_how_to_make_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("search", "--model", "gsm-mini", "--device", "cpp", "--target-ratio", "0.5")
    assert code == 2
    assert "unknown device 'cpp'" in err
    assert "hwsearch profile --device" in err


def test_dry_run_prints_the_resolved_study(run):
    code, out, _ = run(
        "search", "--model", "m", "--device", "d", "--target-ms", "3", "--trials", "9", "--dry-run"
    )
    assert code == 0
    assert "trials = 9" in out
    assert "target_ms = 3.0" in out


def test_ls_devices_shows_provenance_and_held_out_error(run):
    code, out, _ = run("ls", "devices", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["apple-m2"]["provenance"] == "published"
    assert rows["apple-m2"]["held-out error"].endswith(" %")
    assert (rows["h200-sxm"]["provenance"], rows["h200-sxm"]["held-out error"]) == ("modelled", "")


@pytest.mark.parametrize("kind", ["models", "tasks", "formats", "methods"])
def test_ls_names_things_as_json(run, kind):
    code, out, _ = run("ls", kind, "--json")
    assert code == 0
    names = [row["name"] for row in json.loads(out)]
    expected = {"models": "gsm-mini", "tasks": "gsm8k", "formats": "w8a8", "methods": "additive"}
    assert expected[kind] in names


def test_inspect_reads_a_config_alone(run, tmp_path):
    config = {
        "model_type": "llada", "d_model": 4096, "n_heads": 32, "n_kv_heads": 32, "n_layers": 32,
        "mlp_hidden_size": 12288, "embedding_size": 126464, "vocab_size": 126464,
        "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "mask_token_id": 126336,
        "eos_token_id": 126081, "weight_tying": False, "include_bias": False,
        "include_qkv_bias": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, out, err = run("inspect", tmp_path, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["parameters"]["total"] == pytest.approx(8.0e9, rel=0.01)
    assert document["bytes"]["w4"] < document["bytes"]["w8"] < document["bytes"]["fp32"]


def test_inspect_tells_a_plan_layer_by_layer(run, tmp_path):
    plan = CompressionPlan.uniform(6, kept_heads=3).model_dump(mode="json")
    plan["layers"][1] = {"kept_channels": 448, "mlp": "w8a8"}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    code, out, err = run("inspect", "gsm-mini", "--plan", tmp_path / "plan.json", "--json")
    assert code == 0, err
    first, second, *_ = json.loads(out)["plan"]["layers"]
    # 3 of 5 heads of 64 against a hidden size of 320, and three mlp matrices of 896 channels
    assert first["size_bytes"] == 4 * (4 * 192 * 320 + 3 * 320 * 896)
    products = 4 * 320 * 320 * 4 + 2 * 448 * (320 + 5) + 320 * (448 + 5)
    assert (second["kept_channels"], second["size_bytes"]) == (448, products)
    code, out, _ = run("inspect", "gsm-mini", "--plan", tmp_path / "plan.json")
    assert code == 0 and "448" in out
    plan["layers"][1] |= {"down": "w8"}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    code, out, err = run("inspect", "gsm-mini", "--plan", tmp_path / "plan.json", "--json")
    assert code == 0, err
    apart = json.loads(out)["plan"]["layers"][1]
    assert list(apart)[1:6] == ["attention", "kept_heads", "gate_up", "down", "kept_channels"]
    blocks = 320 * 448 * 36 // 32  # 8 bits, and a float scale for each 32
    assert apart["size_bytes"] == products - 320 * (448 + 5) + blocks
    code, out, _ = run("inspect", "gsm-mini", "--plan", tmp_path / "plan.json")
    assert code == 0 and "gate_up" in out and "down w8" in out
    plan["layers"].pop()
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    code, _, err = run("inspect", "gsm-mini", "--plan", tmp_path / "plan.json")
    assert code == 2 and "the plan has 5 layers but the model has 6" in err


def test_a_dry_run_prints_sizes_and_phases(run):
    flags = ("--kept-heads", "1.0,0.6", "--late-scales", "1.0,0.5", "--rules", "mass")
    search = ("search", "--model", "gsm-mini", "--device", "cpu", "--target-ratio", "0.5")
    code, out, err = run(*search, *flags, "--dry-run")
    assert code == 0, err
    space = tomllib.loads(out)["space"]
    assert space == {"kept_heads": [1.0, 0.6], "late_scales": [1.0, 0.5], "rules": ["mass"]}
    code, _, err = run(*search, "--kept-heads", "1.0,1.5", "--dry-run")
    assert code == 2 and "space.kept_heads.1" in err
    code, _, err = run("profile", "--kept-channels", "half", "--kit", "/nowhere/kit")
    assert code == 2 and "shares must be above 0 and at most 1" in err


def test_predict_names_the_option_that_times_a_missing_size(run, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(CompressionPlan.uniform(6, kept_heads=2).to_json())
    code, _, err = run("predict", path, "--device", "cpu")
    assert code == 2 and "--kept-heads 0.4" in err
    path.write_text(CompressionPlan.uniform(6, "w8", "w8", head="w8", kept_heads=3).to_json())
    code, out, err = run("predict", path, "--device", "raspberry-pi-5")
    assert code == 0, err
    assert "heads" in out and "channels" in out


def test_the_console_script_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "hwsearch.cli.main", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "0.1.0" in done.stdout
