"""A device of llama-bench's output by the command line."""

import json

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
