import json
import tomllib

import pytest

from hwsearch.cli.search import against_uniform, document, print_finalists
from hwsearch.search import Target, load_study
from hwsearch.search.finalists import judge_finalists
from hwsearch.search.run import run_study
from tests.search.test_run import make_objective


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "tiny.db")
    run_study(make_objective(Target(ratio=0.6)), trials=25, name="tiny", storage=storage)
    return storage


def test_front_answers_another_target_and_says_what_the_loss_is(run, storage):
    study = load_study(storage)
    for factor in (0.8, 1.0, 1.3):
        target_ms = factor * study.target_ms
        code, out, _ = run("front", storage, "--target-ms", target_ms, "--json")
        found = json.loads(out)
        assert code == 0
        assert found["generation_ms"] <= target_ms
        assert found["loss_is"] == ("predicted" if found["trial"] is None else "evaluated")
        code, out, err = run("front", storage, "--target-ms", target_ms)
        assert f"loss ({found['loss_is']}, nats)" in out
        assert ("not evaluated" in err) == (found["trial"] is None)


def test_an_impossible_target_is_answered_no_in_one_line(run, storage):
    code, out, err = run("front", storage, "--target-ms", "1e-6")
    assert (code, out) == (1, "")
    assert "the fastest takes" in err and "what binds: " in err
    assert len(err.splitlines()) == 1


def test_the_front_shows_the_best_uniform_plan_beside_each(run, storage):
    code, out, _ = run("front", storage, "--json")
    rows = json.loads(out)
    assert code == 0
    assert any(row["uniform_loss"] is not None for row in rows)
    assert all(row["uniform_loss"] is None or row["loss"] <= row["uniform_loss"] for row in rows)
    assert "best uniform in that time" in run("front", storage)[1]


def test_a_search_shows_its_promise(storage):
    study = load_study(storage)
    found = document(study)
    assert found["best"]["loss"] <= found["best_uniform"]["loss"]
    assert f"(trial {found['best_uniform']['number']})" in against_uniform(study)


def test_finalists_are_shown_as_a_table_and_as_json(storage, capsys):
    objective, study = make_objective(Target(ratio=0.6)), load_study(storage)
    verdict = judge_finalists(study, objective, 3, 6)
    print_finalists(study)
    out = capsys.readouterr().out
    assert "finalists of tiny on the same 6 validation problems" in out
    assert f"trial {verdict.winner.number} wins" in out
    assert out.count("winner") == 1 and "points behind (95 %)" in out
    found = document(study)["finalists"]
    assert [row["number"] for row in found["finalists"]] == [f.number for f in verdict.finalists]
    assert found["winner"] == verdict.winner.number


def test_a_dry_run_shows_how_trials_stop_and_how_it_ends(run):
    flags = ("--model", "m", "--device", "d", "--target-ms", "5", "--groups", "refine")
    given = ("--pruner", "wilcoxon", "--fidelity", "0.25", "--finalists", "4", "--problems", "90")
    code, out, _ = run("search", *flags, *given, "--dry-run")
    shown = tomllib.loads(out)
    assert code == 0
    assert (shown["pruner"], shown["fidelity"]) == ("wilcoxon", 0.25)
    assert (shown["finalists"], shown["problems"], shown["space"]["groups"]) == (4, 90, "refine")
    code, _, err = run("search", *flags, "--fidelity", "1.5", "--dry-run")
    assert code == 2 and "fidelity" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target-ms", "500", "--sampler", "tpee"), "unknown sampler 'tpee'; did you mean 'tpe'"),
        (("--target-ms", "500", "--storage", "postgresql://a:b@127.0.0.1:1/x"), "cannot be used"),
        (("--target-ms", "500", "--max-bytes", "0"), "max_bytes: .*got 0"),
        (("--target-ms", "500", "--max-bytes", "9"), "max_bytes 9: the smallest takes"),
        (("--target-ms", "500", "--thresholds", "1.0", "--formats", "w8"), "one plan only"),
        (("--target-ms", "1e-3"), "no plan meets 0.00 ms: the fastest takes"),
    ],
)
@pytest.mark.slow
def test_bad_studies_are_one_line(run, tmp_path, monkeypatch, arguments, said):
    import re

    monkeypatch.chdir(tmp_path)
    flags = ("--storage", str(tmp_path / "s.db")) if "--storage" not in arguments else ()
    code, out, err = run("search", "--model", "gsm-mini", "--device", "cpu", *arguments, *flags)
    assert code in (1, 2) and out == ""
    assert re.search(said, err), err
    assert len(err.splitlines()) == 1
