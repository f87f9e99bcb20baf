"""The adapter against the real lm-evaluation-harness, offline: models and tasks are local files."""

import json
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError
from hwsearch.jobs.exporting import export
from hwsearch.jobs.lm_harness import model as lm_harness
from hwsearch.jobs.lm_harness.texts import DEFAULT_MAX_LENGTH, stated
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.likelihood import log_likelihood
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import Task
from tests.denoisers.checkpoints import stock_config, stock_model, write

PROBLEMS = [
    Problem("tom has 3 apples ?", "#### 7"),
    Problem("tom has 4 apples and buys 5 more ?", "#### 9"),
    Problem("how many apples now ?", "#### 2"),
]
DECODING = {"gen_length": 8, "block_length": 4, "steps": 8, "refresh_interval": 2}

TASK = """
task: tiny_gsm
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{{{question}}}} Answer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["Question"], do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = stock_config("llama") | {"hwsearch": {"decoding": DECODING}}
    return write(
        tmp_path_factory.mktemp("model") / "m", config, dict(stock_model("Llama").state_dict())
    )


def ask(model, method, *arguments):
    return getattr(model, method)([SimpleNamespace(args=args) for args in arguments])


def test_the_command_runs_a_task_and_writes_what_our_own_evaluation_writes(
    folder, tmp_path, monkeypatch
):
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in PROBLEMS))
    (tmp_path / "tiny.yaml").write_text(TASK.format(data=data))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    arguments = [
        "lm_eval", "run", "--model", "hwsearch", "--model_args", f"pretrained={folder}",
        "--tasks", "tiny_gsm", "--include_path", str(tmp_path), "--output_path", str(out),
        "--log_samples", "--batch_size", "4",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    lm_harness.main()
    summary = json.loads(next(out.rglob("results_*.json")).read_text())
    assert summary["config"]["model"] == "hwsearch"
    assert "exact_match,none" in summary["results"]["tiny_gsm"]
    lines = next(out.rglob("samples_*.jsonl")).read_text().splitlines()
    theirs = {record["doc"]["question"]: record["resps"][0][0] for record in map(json.loads, lines)}
    denoiser = load_denoiser(folder)
    task = Task(
        "tiny",
        lambda *_: PROBLEMS,
        prompt=lambda _, problem: f"Question: {problem.question} Answer:",
        stops=("Question",),
    )
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    ours = evaluate(backend, denoiser, PROBLEMS, task=task)
    assert theirs == {p.question: text for p, text in zip(PROBLEMS, ours.texts, strict=True)}


def test_log_likelihoods_are_the_bound_and_know_what_would_be_written(folder):
    model = lm_harness.HarnessModel(str(folder), mc_num=16)
    denoiser = load_denoiser(folder)
    context = "tom has 3 apples"
    prompt = denoiser.tokenizer.encode(context).ids
    (value, _), (one, _) = ask(
        model, "loglikelihood", (context, " and buys more"), (context, " now")
    )
    answer = denoiser.tokenizer.encode("and buys more").ids
    assert value == pytest.approx(log_likelihood(denoiser, prompt, answer, draws=16))
    assert value < 0
    assert one == pytest.approx(
        log_likelihood(denoiser, prompt, [denoiser.tokenizer.token_to_id("now")])
    )
    written = ask(model, "generate_until", (context, {"until": []}))[0]
    fixed = lm_harness.HarnessModel(str(folder), gen_length=1, block_length=1, steps=1)
    first = ask(fixed, "generate_until", (context, {}))[0]
    greedy = ask(model, "loglikelihood", (context, " " + first))[0][1]
    assert greedy
    assert written is not None
    assert ask(model, "loglikelihood_rolling", ("tom has 3 apples",))[0] < 0


def test_a_bundle_generates_and_has_no_logits(tmp_path, folder):
    denoiser: Denoiser = load_denoiser(folder)
    plan = CompressionPlan.uniform(3, decoding=Decoding(**DECODING))
    bundle = export(denoiser, plan, tmp_path / "bundle")
    model = lm_harness.HarnessModel(str(bundle.path))
    text = "Question: tom has 3 apples ? Answer:"
    torch_model = lm_harness.HarnessModel(str(folder))
    assert ask(model, "generate_until", (text, {})) == ask(
        torch_model, "generate_until", (text, {})
    )
    with pytest.raises(InputError, match="a bundle answers tokens, not logits"):
        ask(model, "loglikelihood", ("a", "b"))
    with pytest.raises(InputError, match="decoding is fixed; leave out steps"):
        lm_harness.HarnessModel(str(bundle.path), steps=4)


def test_wrong_model_args_are_named(folder):
    with pytest.raises(InputError, match="gen_length 8 must be a multiple of block_length 3"):
        lm_harness.HarnessModel(str(folder), block_length=3)
    with pytest.raises(InputError, match="stepz: no such key"):
        lm_harness.HarnessModel(str(folder), stepz=3)


def test_a_gguf_file_says_how_texts_begin_and_end_and_how_long_they_are(tmp_path):
    from tests.denoisers.gguf_files import write_model  # skips where gguf is not there

    stock = stock_model("Llama")
    path = write_model(tmp_path / "m.gguf", "llada", stock)
    tokenizer = load_denoiser(path).tokenizer
    assert stated(path, tokenizer) == ("<begin>", "<end>", 512)
    silent = {"llada.context_length": None, "tokenizer.ggml.bos_token_id": None}
    path = write_model(tmp_path / "n.gguf", "llada", stock, **silent)
    assert stated(path, tokenizer) == (None, "<end>", DEFAULT_MAX_LENGTH)
