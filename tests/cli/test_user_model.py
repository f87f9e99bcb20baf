"""A user's model on a user's task, from the command line alone, through every verb.

Where torch sees an NVIDIA GPU, all of it is done on that as well.
"""

import json
import re

import pytest

from hwsearch.latency.devices.places import CHECKOUT
from hwsearch.study import load_study
from hwsearch.study.choices.linear_groups import DOWN_APART
from tests.denoisers.checkpoints import (
    llada_config,
    llada_tensors,
    stock_config,
    stock_model,
    write,
)
from tests.denoisers.test_cuda import needs_gpu

CHAT = "{% for m in messages %}tom {{ m.content }} ?{% endfor %}{% if add_generation_prompt %} has{% endif %}"
LENGTHS = ("--gen-length", 8, "--block-length", 4, "--steps", 8)


def checkpoint(folder, family):
    if family == "llada":
        write(folder, llada_config(), llada_tensors(stock_model("Llama")), shards=2)
    else:
        model = stock_model("Qwen2", kv_heads=2)
        write(folder, stock_config("Dream", kv_heads=2), dict(model.state_dict()))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT}))
    return folder


@pytest.fixture(scope="module", params=["llada", "Dream"])
def model(request, tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_gpu])])
def loaded(request):
    """How the model is loaded: where it runs, and what its files do not say."""
    return ("--torch-device", request.param, *LENGTHS)


@pytest.fixture
def asked(tmp_path):
    for split, count in (("train", 10), ("test", 3)):
        lines = [
            {"question": f"tom has {i} apples , how many now ?", "answer": f"#### {i}"}
            for i in range(count)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{split}.jsonl").write_text(text)
    return (
        "--task", "gsm8k", "--task-path", tmp_path, "--num-shots", 1, "--apply-chat-template",
    )  # fmt: skip


@pytest.fixture
def makers(tmp_path):
    """The model's own decoding alone."""
    (tmp_path / "own.json").write_text("{}")
    return tmp_path / "own.json"


@pytest.mark.slow
def test_from_search_to_verified_bundle(run, model, asked, loaded, tmp_path):
    database = tmp_path / "study.db"
    search = (
        "search", "--model", model, "--device", "ryzen-7950x", "--objective", "loss", "--target-ratio", 1.0,
        "--formats", "w8,w4", "--thresholds", "1.0,0.5", "--trials", 4, "--finalists", 1,
        "--problems", 2, "--limit", 3, "--storage", database, "--name", "mine",
    )  # fmt: skip
    code, out, err = run(*search, *asked, *loaded, "--json")
    assert code == 0, err
    assert json.loads(out)["finalists"]["problems"] == 2
    record = load_study("mine", str(database)).record
    assert record.task_choice.task == "gsm8k" and record.task_choice.apply_chat_template
    assert record.decoding_value.gen_length == 8
    assert record.loading.torch_device == loaded[1]
    # another wording is another study
    other = [option for option in asked if option != "--apply-chat-template"]
    code, _, err = run(*search, *other, *loaded)
    assert code == 2 and "what differs: the calibration questions" in err and "the task" in err

    bundle = tmp_path / "bundle"
    code, _, err = run("export", "mine", "--storage", database, "-o", bundle, "--limit", 2)
    assert code == 0, err
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["asks"] == "chat" and manifest["figures"]["task"]["task"] == "gsm8k"
    assert "Question: tom has" in manifest["reference"][0]["question"]
    code, out, err = run("verify", bundle, "--limit", 2, "--json")
    failed = [check["name"] for check in json.loads(out) if not check["passed"]]
    assert set(failed) <= {"latency", "passes"}, (failed, err)
    code, out, err = run("evaluate", bundle, *asked, "--limit", 2, "--json")
    assert code == 0, err
    gguf = ("export", "mine", "--storage", database, "--to", "gguf", "-o", tmp_path / "gguf")
    code, _, err = run(*gguf, "--plan", 0)
    assert code == 2 and "needs inputs in multiples of 32, and there are 48" in err
    code, _, err = run(*gguf, "--task", "gsm8k")
    assert code == 2 and "a study, which knows its model, its task and its device" in err


@pytest.mark.slow
def test_what_a_browser_runs_is_exported_and_neither_timed_nor_scored(
    run, model, asked, loaded, makers, tmp_path
):
    device, database = tmp_path / "browser" / "device.toml", tmp_path / "study.db"
    text = (CHECKOUT / "ryzen-7950x" / "device.toml").read_text()
    device.parent.mkdir()
    device.write_text(
        re.sub("^runtime = .*", 'runtime = "onnxruntime-web"', text, flags=re.MULTILINE)
    )
    search = (
        "search", "--model", model, "--device", device.parent, "--target-ratio", 1.0, "--trials", 2,
        "--formats", "w8,w4", "--thresholds", "1.0", "--limit", 2, "--storage", database, "--name", "web",
        "--decoding", makers,
    )  # fmt: skip
    code, _, err = run(*search, *asked, *loaded)
    assert code == 0, err
    code, out, err = run("export", "web", "--storage", database, "-o", tmp_path / "bundle")
    assert code == 0, err
    assert "neither timed nor scored, since Python does not run it: Node and browsers do" in out
    figures = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["figures"]
    assert figures["predicted_ms"] > 0 and figures["measured_ms"] is None
    for verb in ("verify", "bench"):
        code, _, err = run(verb, tmp_path / "bundle")
        assert code == 2 and "onnxruntime-web does not run in Python" in err


def test_any_plan_of_a_model_is_exported_without_a_study(run, model, asked, loaded, tmp_path):
    layer = {"attention": "w8", "mlp": "w4", "sink_threshold": 0.5}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"layers": [layer] * 3, "head": "w8"}))
    bundle = tmp_path / "bundle"
    export = ("export", "--model", model, "--plan", plan, "-o", bundle)
    code, _, err = run(*export, *asked, *loaded)
    assert code == 0, err
    code, out, err = run("verify", bundle, "--json")
    assert code == 0, (out, err)
    assert run("export", "--model", model, "-o", bundle)[0] == 2
    code, _, err = run("export", "study", "--model", model, "-o", bundle)
    assert code == 2 and "give a study, or --model and --plan; not both" in err
    code, _, err = run("export", "study", "--task", "gsm8k", "-o", bundle)
    assert code == 2 and "--task gsm8k has no effect with a study" in err
    other = ("--to", "gguf", "--runtime", "onnxruntime-openvino")
    code, _, err = run("export", "--model", "gsm-mini", "--plan", "p.json", "-o", "b", *other)
    assert code == 2
    assert "--runtime onnxruntime-openvino has no effect with --to gguf: what llama.cpp runs" in err


def test_evaluate_and_sinks_take_the_same_task(run, model, asked, loaded, tmp_path):
    code, out, err = run("evaluate", model, *asked, *loaded, "--limit", 2, "--json")
    assert code == 0, err
    assert json.loads(out)["configs"]["gsm8k"]["num_fewshot"] == 1
    folder = tmp_path / "sinks"
    code, out, err = run("sinks", model, *asked, *loaded, "--limit", 2, "-o", folder, "--json")
    assert code == 0, err
    assert (folder / "sinks.html").is_file()


def test_half_precision_reaches_the_loss(run, model, asked, loaded, makers, tmp_path):
    search = (
        "search", "--model", model, "--device", "ryzen-7950x", "--target-ratio", 1.0, "--trials", 2,
        "--limit", 2, "--formats", "fp16,w8", "--thresholds", "1.0", "--decoding", makers,
        "--storage", tmp_path / "s.db", "--name", "half",
    )  # fmt: skip
    code, _, err = run(*search, *asked, *loaded, "--dtype", "bfloat16")
    assert code == 0, err
    record = load_study("half", str(tmp_path / "s.db")).record
    assert record.loading.dtype == "bfloat16"


def test_a_study_of_before_goes_on_with_its_own_linear_groups(
    run, model, asked, loaded, makers, tmp_path
):
    search = (
        "search", "--model", model, "--device", "h100-sxm", "--target-ratio", 1.0, "--limit", 2,
        "--formats", "fp16,w8a8", "--thresholds", "1.0", "--storage", tmp_path / "s.db",
        "--decoding", makers,
    )  # fmt: skip
    begun = ("--name", "before", "--trials", 2, "--linear-groups", "attention,mlp")
    for words in (begun, ("--name", "before", "--trials", 4), ("--name", "new", "--trials", 2)):
        code, _, err = run(*search, *words, *asked, *loaded)
        assert code == 0, err
    kept = {name: load_study(name, str(tmp_path / "s.db")) for name in ("before", "new")}
    assert len(kept["before"].frame()) == 4 and "linear_groups" not in kept["before"].record.space
    assert kept["new"].space.linear_groups == DOWN_APART
    again = (*search, "--name", "before", "--linear-groups", "attention,gate_up,down")
    code, _, err = run(*again, *asked, *loaded)
    assert code == 2 and "was created with space" in err
