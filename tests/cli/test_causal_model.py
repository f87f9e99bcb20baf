"""An autoregressive model of a user's own, searched and scored from the command line."""

import json
import re

import pytest
import torch

from hwsearch.decoding.answer import answer_text
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.jobs.evaluation import EvaluationSettings, evaluate_model
from hwsearch.study import load_study
from hwsearch.tasks.choice import TaskChoice
from tests.denoisers.checkpoints import stock_config, stock_model, write
from tests.denoisers.test_causal import stock_causal_logits

DEVICE = ("--device", "ryzen-7950x", "--target-ratio", 1.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = {**stock_config("llama", 2), "max_position_embeddings": 512}
    del config["mask_token_id"]  # left to right there is nothing to mask
    folder = tmp_path_factory.mktemp("models") / "causal"
    return write(folder, config, stock_model("Llama", kv_heads=2).state_dict())


@pytest.fixture
def asked(tmp_path):
    for split, count in (("train", 12), ("test", 3)):
        lines = [
            {"question": f"tom has {i} apples , how many now ?", "answer": f"tom has #### {i}"}
            for i in range(count)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{split}.jsonl").write_text(text)
    return ("--task", "gsm8k", "--task-path", tmp_path, "--num-shots", 0, "--limit", 3)


@pytest.fixture
def search(run, model, asked, tmp_path):
    def call(*more, task=asked):
        database = ("--storage", tmp_path / "s.db", "--name", "causal", "--gen-length", 8)
        return run("search", "--model", model, "--causal", *DEVICE, *task, *database, *more)

    return call


@pytest.mark.parametrize("loss", ["kl", "nll"])
def test_a_search_over_formats_with_finalists(run, search, loss, tmp_path):
    more = ("--loss", loss, "--trials", 12, "--finalists", 2, "--problems", 2, "--json")
    code, out, err = search(*more)
    assert code == 0, err
    found = json.loads(out)
    assert found["best"]["loss"] <= found["best_uniform"]["loss"]
    assert found["finalists"]["problems"] == 2
    study = load_study("causal", str(tmp_path / "s.db"))
    record = study.record
    assert record.loading.causal and record.decoding_value.block_length == 1
    assert study.space.thresholds == (1.0,) and study.space.decodings == (None,)
    frame = study.frame()
    least = frame["loss"].min()
    assert (least == pytest.approx(0.0, abs=1e-6)) == (loss == "kl")
    assert frame["generation_ms"].between(0, 1e6, inclusive="neither").all()
    # it goes on, and knows how the model was loaded
    code, _, err = search("--loss", loss, "--trials", 14)
    assert code == 0, err
    code, _, err = run("export", "causal", "--storage", tmp_path / "s.db", "-o", tmp_path / "b")
    assert code == 2 and "is autoregressive" in err and len(err.splitlines()) == 1


def test_a_search_whose_plans_are_rounded_by_what_its_solved_problems_show(search, tmp_path):
    code, _, err = search("--rounding", "calibrated", "--trials", 8)
    assert code == 0, err
    study = load_study("causal", str(tmp_path / "s.db"))
    assert study.space.rounding == "calibrated"
    assert {study.plan(number).rounding for number in range(8)} >= {"calibrated"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--thresholds", "1.0,0.5"), r"leave \[space\].thresholds out"),
        (("--rules", "recent,mass", "--kept-heads", "1.0,0.5"), r"kept_heads, \[space\].rules out"),
        (("--late-scales", "1.0,0.5"), r"leave \[space\].late_scales out"),
        (("--decoding", "stop.json"), r"leave \[space\].decodings out"),
        (("--loss", "agreement"), "take the loss kl or nll"),
        (("--loss", "digits"), "take the loss kl or nll"),
        (("--block-length", 4), "writes one token a pass, so leave block_length and steps out"),
        (("--calibration", "questions.jsonl"), "need problems with answers"),
    ],
)
def test_what_it_cannot_search_is_one_line(search, tmp_path, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stop.json").write_text('{"stop_at_end": true}')
    (tmp_path / "questions.jsonl").write_text('{"question": "tom ?"}\n')
    code, out, err = search("--trials", 2, *more)
    assert (code, out) == (2, "")
    assert re.search(said, err), err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "s.db").exists(), "a refused search leaves no study behind"


def test_verbs_that_cannot_serve_it_say_so(run, model, asked, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"layers": [{"attention": "w8"}] * 3, "head": "w8"}))
    out = ("-o", tmp_path / "out")
    for arguments, said in (
        (("export", "--model", model, "--causal", "--plan", plan, *out), "not exported"),
        (("baselines", model, "--causal", *asked[:-2], *out), "is autoregressive"),
        (("evaluate", model, "--causal", *asked, "--apply-chat-template"), "has no chat template"),
        (("evaluate", model, *asked), "an autoregressive model has none: --causal"),
    ):
        code, printed, err = run(*arguments)
        assert (code, printed) == (2, "") and said in err, err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists(), "refused before anything is measured"


def test_the_makers_decoding_may_be_named(search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "makers.json").write_text("{}")
    code, _, err = search("--trials", 2, "--decoding", "makers.json", "--dry-run")
    assert code == 0, err
    code, out, err = search("--trials", 2, "--dry-run")
    assert "causal = true" in out


def test_it_is_evaluated_token_by_token(run, model, asked):
    task = ("--task", "gsm8k", "--task-path", asked[3], "--num-shots", 0)
    evaluate = ("evaluate", model, "--causal", *task, "--limit", 2, "--gen-length", 6, "--json")
    code, out, err = run(*evaluate)
    assert code == 0, err
    assert json.loads(out)["passes"] == {"refresh": 6.0, "advance": 0.0, "step": 0.0}
    asking = TaskChoice(task="gsm8k", task_path=str(asked[3]), num_shots=0)
    options = ModelOptions(causal=True, gen_length=6)
    found = evaluate_model(str(model), EvaluationSettings(asking, limit=1, model=options))
    stock = stock_model("Llama", kv_heads=2)
    tokens = torch.tensor([found.prompts[0]])
    for _ in range(6):
        best = stock_causal_logits(stock, tokens)[:, -1:].argmax(-1)
        tokens = torch.cat((tokens, best), dim=1)
    ends, tokenizer = options.load(model).end_token_ids, options.load(model).tokenizer
    assert found.texts[0] == answer_text(tokenizer, tokens[0, -6:].tolist(), ends)
    code, _, err = run("evaluate", "mine:make", "--causal", "--limit", 2)
    assert code == 2 and "causal is for checkpoints" in err and len(err.splitlines()) == 1


def test_its_device_is_timed_by_operators_alone(run, model, asked, tmp_path, monkeypatch):
    """It is not exported, so there is no whole model to run, and no sinks to calibrate for one."""
    monkeypatch.setattr("hwsearch.sinks.profile._calibrated", None)
    effort = ("--rounds", 1, "--sessions", 1, "--out", tmp_path / "tables", "--gen-length", 8)
    shapes = ("profile", "--device", "mine", "--shapes-of", model, "--causal", *asked, *effort)
    code, _, err = run(*shapes)
    assert code == 0 and "no whole model was run" in err
    found = ("search", "--model", model, *asked, "--device", tmp_path / "tables" / "mine")
    more = ("--target-ratio", 1.0, "--trials", 3, "--gen-length", 8, "--storage", tmp_path / "x.db")
    code, _, err = run(*found, "--causal", *more)
    assert code == 0, err
