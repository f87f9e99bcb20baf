"""Problems with a text behind the blank, from the command line alone, through every verb."""

import json

import pytest

from hwsearch.study import load_study
from hwsearch.tasks.problem import read_problems
from tests.denoisers.checkpoints import (
    llada_config,
    llada_tensors,
    stock_config,
    stock_model,
    write,
)

LENGTHS = ("--gen-length", 8, "--block-length", 4, "--steps", 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llada"
    return write(folder, llada_config(), llada_tensors(stock_model("Llama")), shards=2)


@pytest.fixture
def asked(tmp_path):
    lines = [
        {"question": f"tom has {i} apples , ", "answer": f"#### {i}", "suffix": "how many now ?"}
        for i in range(10)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ("--task", "problems", "--task-path", path)


def search(model, database, name):
    return (
        "search", "--model", model, "--device", "ryzen-7950x", "--objective", "loss", "--target-ratio", 1.0,
        "--formats", "w8,w4", "--thresholds", "1.0,0.5", "--trials", 4, "--finalists", 1,
        "--problems", 2, "--limit", 3, "--storage", database, "--name", name,
    )  # fmt: skip


@pytest.mark.slow
def test_from_search_to_verified_bundle(run, model, asked, tmp_path):
    database = tmp_path / "study.db"
    code, out, err = run(*search(model, database, "mine"), *asked, *LENGTHS, "--json")
    assert code == 0, err
    assert json.loads(out)["finalists"]["problems"] == 2
    record = load_study("mine", str(database)).record
    assert record.suffix_length > 0
    assert json.loads(record.workload)["suffix_length"] == record.suffix_length

    bundle = tmp_path / "bundle"
    code, _, err = run("export", "mine", "--storage", database, "-o", bundle, "--limit", 2)
    assert code == 0, err
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["reference"][0]["suffix"] == "how many now ?"
    assert manifest["figures"]["suffix_length"] == record.suffix_length
    code, out, err = run("verify", bundle, "--limit", 2, "--json")
    failed = [check["name"] for check in json.loads(out) if not check["passed"]]
    assert set(failed) <= {"latency", "passes"}, (failed, err)
    code, out, err = run("evaluate", bundle, *asked[:2], "--path", asked[3], "--limit", 2, "--json")
    assert code == 0, err
    code, out, err = run("compare", database, "--devices", "ryzen-7950x", "--json")
    assert code == 0, err

    # another text behind the blanks is another study
    path = asked[3]
    path.write_text(path.read_text().replace("how many now ?", "how many more ?"))
    code, _, err = run(*search(model, database, "mine"), *asked, *LENGTHS)
    assert code == 2 and "what differs: the calibration questions" in err


def test_a_model_and_its_bundle_are_evaluated_alike(run, model, asked, tmp_path):
    plan, bundle = tmp_path / "plan.json", tmp_path / "bundle"
    plan.write_text(json.dumps({"layers": [{"sink_threshold": 1.0}] * 3}))
    code, _, err = run("export", "--model", model, "--plan", plan, "-o", bundle, *asked, *LENGTHS)
    assert code == 0, err
    texts = []
    for subject, lengths in ((model, LENGTHS), (bundle, ())):
        out = tmp_path / f"results-{len(texts)}"
        code, _, err = run("evaluate", subject, *asked, *lengths, "--limit", 2, "-o", out)
        assert code == 0, err
        lines = (out / "samples_problems.jsonl").read_text().splitlines()
        samples = [json.loads(line) for line in lines]
        assert {sample["doc"]["suffix"] for sample in samples} == {"how many now ?"}
        texts.append([sample["resps"] for sample in samples])
    assert texts[0] == texts[1]


def test_generate_takes_a_suffix(run, model, asked, tmp_path):
    plan, bundle = tmp_path / "plan.json", tmp_path / "bundle"
    plan.write_text(json.dumps({"layers": [{"sink_threshold": 1.0}] * 3}))
    code, _, err = run("export", "--model", model, "--plan", plan, "-o", bundle, *asked, *LENGTHS)
    assert code == 0, err
    question = read_problems(asked[3])[0].question
    answers = []
    for more in ((), ("--suffix", ""), ("--suffix", "how many now ?")):
        code, out, err = run("generate", bundle, question, *more, "--json")
        assert code == 0, err
        answers.append(json.loads(out))
    assert answers[0] == answers[1] and set(answers[0]) == {"question", "answer"}
    assert answers[2]["suffix"] == "how many now ?"


def test_an_autoregressive_model_refuses_in_one_line(run, asked, tmp_path):
    config = {**stock_config("llama", 2), "max_position_embeddings": 512}
    del config["mask_token_id"]
    folder = write(tmp_path / "causal", config, stock_model("Llama", kv_heads=2).state_dict())
    code, out, err = run("evaluate", folder, "--causal", "--gen-length", 8, *asked, "--limit", 1)
    assert (code, out) == (2, "")
    assert "is autoregressive, so it cannot see a text behind what it writes" in err
    assert len(err.strip().splitlines()) == 1
