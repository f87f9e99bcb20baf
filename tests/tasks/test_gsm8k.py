from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.plan import Decoding
from hwsearch.tasks.catalog import load_task
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.extraction import COT_STRICT, STRICT
from hwsearch.tasks.gsm8k import cot_answer, gsm8k, gsm8k_cot, read_split
from hwsearch.tasks.harness_results import results, samples, write_results
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import score_answers
from hwsearch.testing.tiny import tiny_denoiser

REAL = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the real GSM8K is not beside the checkout (../shared/data/gsm8k)"
)


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 12), ("test", 4)):
        records = [
            {
                "question": f"{split} {i}?",
                "answer": f"It is <<{i}*2={2 * i}>>{2 * i}.\n#### {2 * i}",
            }
            for i in range(count)
        ]
        lines = "\n".join(map(json.dumps, records))
        (tmp_path / f"{split}.jsonl").write_text(lines + "\n")
    return tmp_path


def test_five_shots_from_train_then_the_question(folder):
    task = load_task("gsm8k", folder)
    problems = task.problems("test", 4, 0)
    prompt = task.prompt(0, problems[0])
    *shots, question = prompt.split("\n\n")
    assert question == "Question: test 0?\nAnswer:"
    assert len(shots) == len(set(shots)) == 5
    assert all(shot.startswith("Question: train ") for shot in shots)
    assert all("\nAnswer: It is <<" in shot and "\n#### " in shot for shot in shots)


def test_shots_depend_on_place_and_seed_alone(folder):
    problems = read_split(folder, "test")
    forward = [gsm8k(folder).prompt(i, p) for i, p in enumerate(problems)]
    task = gsm8k(folder)
    backward = [task.prompt(i, problems[i]) for i in reversed(range(4))][::-1]
    assert forward == backward
    assert len({prompt.rsplit("\n\n", 1)[0] for prompt in forward}) > 1
    assert forward[0] != gsm8k(folder, seed=7).prompt(0, problems[0])


def test_a_file_finds_its_train_split_beside_it(folder):
    assert gsm8k(folder / "test.jsonl").prompt(0, Problem("q", "a")) == gsm8k(folder).prompt(
        0, Problem("q", "a")
    )


def test_cot_uses_given_shots_as_they_are(folder):
    shots = [Problem(f"given {i}", f"So {i}. The answer is {i}.") for i in range(8)]
    prompt = gsm8k_cot(folder, shots).prompt(3, Problem("now?", "#### 1"))
    assert prompt.startswith("Q: given 0\nA: So 0. The answer is 0.\n\nQ: given 1\n")
    assert prompt.endswith("\n\nQ: now?\nA:")
    assert prompt.count("Q: ") == 9


def test_cot_stand_ins_end_as_the_strict_rule_wants(folder):
    task = gsm8k_cot(folder)
    shots = task.prompt(0, Problem("now?", "#### 1")).split("\n\n")[:-1]
    assert len(shots) == 8
    assert all(COT_STRICT.extract(shot) != "[invalid]" and "<<" not in shot for shot in shots)
    assert task.shots == "train split, rewritten"


def test_bad_sources(folder, tmp_path):
    with pytest.raises(UnknownNameError):
        read_split(folder, "dev")
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        gsm8k(tmp_path / "nowhere.jsonl", [Problem("q", "a")] * 5).problems("test", 1, 0)
    with pytest.raises(InputError, match="5 shots need"):
        gsm8k(folder, [Problem("q", "a")])
    (folder / "test.jsonl").write_text('{"question": "q"}\n')
    with pytest.raises(InputError, match=r"test\.jsonl:1.*answer"):
        read_split(folder, "test")


def test_results_have_the_shape_of_the_harness(folder, tmp_path):
    task = gsm8k(folder, num_shots=1)
    denoiser = tiny_denoiser()
    decoding = Decoding(gen_length=4, block_length=2, steps=4, refresh_interval=2)
    backend = TorchBackend(denoiser.network, KeptShares.keeping_all(2))
    found = evaluate(backend, denoiser, task.problems("test", 3, 0), task=task, decoding=decoding)
    report = results(found, "tiny", split_size=4)
    line = report["results"]["gsm8k"]
    assert {"exact_match,strict-match", "exact_match_stderr,flexible-extract"} <= line.keys()
    assert report["n-samples"]["gsm8k"] == {"original": 4, "effective": 3}
    assert report["n-shot"]["gsm8k"] == 1
    assert report["config"]["fewshot_seed"] == 1234
    recorded = report["configs"]["gsm8k"]["metadata"]
    assert (recorded["gen_length"], recorded["steps"], recorded["block_length"]) == (4, 4, 2)

    summary, details = write_results(tmp_path / "out", found, "tiny", 4)
    assert json.loads(summary.read_text()) == json.loads(json.dumps(report))
    records = [json.loads(text) for text in details.read_text().splitlines()]
    assert records == json.loads(json.dumps(samples(found)))
    assert [r["filter"] for r in records] == ["strict-match"] * 3 + ["flexible-extract"] * 3
    mean = sum(r["exact_match"] for r in records[3:]) / 3
    assert mean == line["exact_match,flexible-extract"]


@needs_real
def test_the_real_problems_are_all_there_and_score_themselves():
    train, test = read_split(REAL, "train"), read_split(REAL, "test")
    assert (len(train), len(test)) == (7473, 1319)
    assert score_answers(test, [p.answer for p in test], STRICT).accuracy == 1.0
    texts = [cot_answer(p.answer) for p in test]
    assert score_answers(test, texts, COT_STRICT).accuracy == 1.0


@needs_real
def test_a_tiny_model_is_asked_the_real_problems():
    task = load_task("gsm8k", REAL / "test.jsonl")
    denoiser = tiny_denoiser()
    decoding = Decoding(gen_length=4, block_length=4, steps=2, refresh_interval=1)
    problems = task.problems("test", 2, 0)
    backend = TorchBackend(denoiser.network, KeptShares.keeping_all(2))
    found = evaluate(backend, denoiser, problems, task=task, decoding=decoding, batch=1)
    assert found.prompt_texts[0].count("Question: ") == 6
    assert found.scores.keys() == {"strict-match", "flexible-extract"}


def test_a_name_of_the_hub_is_no_path(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "hwsearch.tasks.gsm8k._from_hub", lambda split, name: asked.append((split, name)) or []
    )
    read_split("someone/gsm8k-copy", "test")
    read_split(None, "train")
    read_split("someone/gsm8k-copy", "calibration")
    read_split("some.one/gsm8k_v1.2", "test")
    assert asked == [
        ("test", "someone/gsm8k-copy"),
        ("train", "openai/gsm8k"),
        ("train", "someone/gsm8k-copy"),
        ("test", "some.one/gsm8k_v1.2"),
    ]
    assert len(read_split(str(folder), "test")) == 4
