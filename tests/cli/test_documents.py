"""What `--json` prints is described, verb by verb; the fixture `run` holds every document against that."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from hwsearch.cli.documents.catalog import DOCUMENTS, document_type, json_schema
from hwsearch.cli.main import VERBS

ROOT = Path(__file__).parents[2]


def test_every_verb_has_a_document():
    assert DOCUMENTS.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", DOCUMENTS)
def test_schemas_are_printed_and_say_what_a_key_is_for(run, verb):
    code, out, _ = run("schema", verb)
    found = json.loads(out)
    assert code == 0 and found == json_schema(verb)
    assert found["title"] == f"hwsearch {verb} --json"
    own = [part for name, part in found["$defs"].items() if name.endswith("Document")]
    assert own and all(part.get("description") for part in own)


def test_one_or_all_schemas(run):
    assert json.loads(run("schema", "--all")[1]).keys() == DOCUMENTS.keys()
    for wrong in (("schema",), ("schema", "front", "--all"), ("schema", "fornt")):
        assert run(*wrong)[0] == 2


@pytest.mark.parametrize(
    ("verb", "wrong"),
    [
        ("generate", {"question": "a", "answer": 1}),
        ("generate", {"question": "a"}),
        ("generate", {"question": "a", "answer": "b", "more": 1}),
        ("front", [{"number": 1}]),
        ("web", {"error": {"kind": "InputError"}}),
    ],
)
def test_other_documents_are_refused(verb, wrong):
    with pytest.raises(ValidationError):
        document_type(verb).validate_json(json.dumps(wrong))


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "models"),
        ("ls", "devices"),
        ("ls", "tasks"),
        ("ls", "formats"),
        ("ls", "formats", "--device", "apple-m2"),
        ("ls", "policies"),
        ("ls", "forecasts"),
        ("ls", "methods"),
        ("ls", "studies"),
        ("inspect", "gsm-mini"),
        ("schema", "ls"),
        ("completion", "bash"),
        ("web", "site"),
        ("proxies", ROOT / "studies/proxies/losses.csv", "--resamples", 20),
    ],
)
def test_quick_verbs_print_what_is_described(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    assert "error" not in json.loads(out)


@pytest.mark.slow
def test_a_study_is_told_in_documents(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = (
        "search",
        "--model",
        "gsm-mini",
        "--device",
        "apple-m2",
        "--target-ratio",
        1.0,
        "--limit",
        2,
    )
    some = (
        *search,
        "--formats",
        "fp16,w4",
        "--thresholds",
        "1.0",
        "--groups",
        "tied",
        "--trials",
        2,
    )
    makers = tmp_path / "makers.json"
    makers.write_text("{}")
    told = {}
    for arguments in (
        (*some, "--name", "s", "--decoding", makers),
        (*search, "--dry-run"),
        ("front", "s"),
        ("front", "s", "--target-ms", 1e6),
        ("compare", "s", "--devices", "apple-m2,ryzen-7950x"),
        ("ls", "studies"),
    ):
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        told[arguments[0], len(arguments)] = json.loads(out)
    plan = told["front", 2][0]["plan"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for arguments in (
        ("predict", "plan.json", "--device", "apple-m2"),
        ("inspect", "gsm-mini", "--plan", "plan.json"),
    ):
        assert run(*arguments, "--json")[0] == 0
