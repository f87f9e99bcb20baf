"""A device of llama-bench's output by the command line."""

import json
import os
import subprocess

from hwsearch.plan import CompressionPlan
from tests.latency.benchmarks.test_llama_bench import machine, written

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008, "rms_norm_eps": 1e-5,
    "hidden_act": "silu", "mask_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


def test_a_benchmark_becomes_a_device_that_predicts(run, tmp_path):
    bench, config = written(tmp_path, machine()), tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    bring = ("profile", "--import", bench, "--device", "mine", "-o", tmp_path / "tables")
    code, _, err = run(*bring)
    assert code == 2 and "give --shapes-of MODEL" in err
    code, _, err = run(*bring, "--shapes-of", config)
    assert code == 0 and "fp16, w8, w4 of a benchmark in" in err and "off at most" in err
    plan = tmp_path / "plan.json"
    plan.write_text(CompressionPlan.uniform(32, "w4", "w4", head="w8").to_json())
    device = tmp_path / "tables" / "mine"
    code, out, err = run("predict", plan, "--model", config, "--device", device, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["provenance"] == "published" and found["generation_ms"] > 0
    code, _, err = run(*bring, "--shapes-of", "gsm-mini", "--overwrite")
    assert code == 2 and "say whose it is by --shapes-of" in err and err.count("\n") == 1


def test_what_is_neither_says_what_a_kit_brings(run, tmp_path):
    (tmp_path / "r.txt").write_text("hello")
    code, _, err = run("profile", "--import", tmp_path / "r.txt", "--device", "mine")
    assert code == 2 and "results of a kit begin with" in err


def test_a_kit_for_llama_cpp_runs_what_its_script_says(run, tmp_path, monkeypatch):
    """With a stand-in for llama-bench that answers as it was told to be asked."""
    kit = tmp_path / "kit"
    code, _, err = run("profile", "--kit", kit, "--for", "llama.cpp", "--shapes-of", "gsm-mini")
    assert code == 0 and "sh bench.sh" in err, err
    for kind in ("F16", "Q8_0", "Q4_0"):
        assert (kit / kind / "model.gguf").stat().st_size > 1e6
    stand_in = tmp_path / "bin" / "llama-bench"
    stand_in.parent.mkdir()
    rows = [
        {"model_type": f"llada {kind}", "model_n_params": 7756160} | row
        for kind, prompt, token in (("F16", 5000, 1200), ("Q8_0", 5500, 1800), ("Q4_0", 5510, 2750))
        for row in (
            {"n_prompt": 512, "n_gen": 0, "avg_ts": prompt},
            {"n_prompt": 0, "n_gen": 128, "avg_ts": token},
        )
    ]
    (tmp_path / "answer.json").write_text(json.dumps(rows))
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\ncat "{tmp_path}/answer.json"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    subprocess.run(["sh", str(kit / "bench.sh"), "-t", "4"], check=True, cwd=tmp_path)
    models = "-m F16/model.gguf -m Q8_0/model.gguf -m Q4_0/model.gguf"
    asked = (tmp_path / "asked").read_text().strip()
    assert asked == f"-p 512 -n 128 {models} -o json -t 4"
    bring = ("profile", "--import", kit / "bench.json", "--device", "mine", "-o", tmp_path / "t")
    code, _, err = run(*bring, "--shapes-of", "gsm-mini")
    assert code == 0 and "fp16, w8, w4 of a benchmark in" in err, err
    code, _, err = run("profile", "--kit", kit, "--for", "llama.cpp", "--shapes-of", "gsm-mini")
    assert code == 2 and "exists" in err and err.count("\n") == 1
