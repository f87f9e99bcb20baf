import json
import re
import tomllib
from pathlib import Path

import pytest

from hwsearch.cli.studies.front import plan_rows
from hwsearch.cli.studies.search import against_uniform, document, print_finalists
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal, load_study
from hwsearch.study.finalists import judge_finalists
from hwsearch.study.run import run_study
from tests.study.test_energy import make
from tests.study.test_run import make_objective


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "tiny.db")
    run_study(make_objective(Goal(target_ratio=0.6)), trials=25, name="tiny", storage=storage)
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
    objective, study = make_objective(Goal(target_ratio=0.6)), load_study(storage)
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


def test_a_dry_run_prints_what_it_takes_below_a_study_that_stays_a_file(run):
    asked = ("search", "--model", "gsm-mini", "--device", "cpu", "--target-ms", "5", "--limit", "4")
    code, out, _ = run(*asked, "--dry-run")
    assert code == 0 and tomllib.loads(out)["limit"] == 4
    assert "# one full pass over a sequence takes" in out and "#   judging a plan" in out
    code, out, _ = run("search", "--model", "none", "--device", "cpu", "--dry-run", *asked[5:7])
    assert code == 0 and "# it would not begin: " in out and "none" in out


def test_estimates_before_the_first_trial_can_be_left_out(run):
    flags = ("search", "--model", "m", "--device", "d", "--target-ms", "5", "--dry-run")
    assert "sensitivities" not in run(*flags)[1], "they are made where nobody says otherwise"
    assert tomllib.loads(run(*flags, "--no-sensitivities")[1])["sensitivities"] is False
    assert "sensitivities" not in run(*flags, "--sensitivities")[1]


#: Keeps to the makers' decoding, by a file that the test writes.
MAKERS = ("--decoding", "makers.json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target-ms", "500", "--sampler", "tpee"), "unknown sampler 'tpee'; did you mean 'tpe'"),
        (("--target-ms", "500", "--storage", "postgresql://a:b@127.0.0.1:1/x"), "cannot be used"),
        (("--target-ms", "500", "--max-bytes", "0"), "max_bytes: .*got 0"),
        (("--target-ms", "500", "--max-bytes", "9"), "max_bytes 9: the smallest takes"),
        (
            ("--target-ms", "500", "--thresholds", "1.0", "--formats", "w8", *MAKERS),
            "one plan only",
        ),
        (("--target-ms", "500", "--decoding", "none.json"), "cannot read decoding none.json"),
        (("--target-ms", "500", "--decoding", "wide.json"), "decoding: .*threshold.*2"),
        (("--target-ms", "1e-3"), "no plan meets 0.00 ms: the fastest takes"),
    ],
)
@pytest.mark.slow
def test_bad_studies_are_one_line(run, tmp_path, monkeypatch, arguments, said):

    monkeypatch.chdir(tmp_path)
    Path("makers.json").write_text("{}")
    Path("wide.json").write_text('{"commit": {"policy": "threshold", "threshold": 2.0}}')
    flags = ("--storage", str(tmp_path / "s.db")) if "--storage" not in arguments else ()
    code, out, err = run("search", "--model", "gsm-mini", "--device", "cpu", *arguments, *flags)
    assert code in (1, 2) and out == ""
    assert re.search(said, err), err
    assert len(err.splitlines()) == 1


@pytest.fixture(scope="module")
def powered(tmp_path_factory):
    """A study of time on a device whose power is known."""
    storage = str(tmp_path_factory.mktemp("study") / "powered.db")
    run_study(make(Goal(target_ratio=0.6)), trials=20, name="powered", storage=storage)
    return storage


def test_joules_stand_beside_milliseconds_where_the_power_is_known(run, powered, storage):
    study = load_study(powered)
    assert document(study)["best"]["generation_joules"] > 0
    assert document(load_study(storage))["best"]["generation_joules"] is None
    assert " J " in run("front", powered)[1] and " J " not in run("front", storage)[1]
    rows = json.loads(run("front", powered, "--json")[1])
    assert all(row["generation_joules"] > 0 for row in rows)
    assert json.loads(run("front", storage, "--json")[1])[0]["generation_joules"] is None


def test_front_answers_a_target_of_joules(run, powered, storage):
    study = load_study(powered)
    joules = study.energy.of(study.target_ms)
    code, out, err = run("front", powered, "--target-joules", joules, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["generation_joules"] <= joules == found["target_joules"]
    code, out, err = run("front", powered, "--target-joules", joules)
    assert code == 0 and f"within {joules:g} J" in out
    for arguments, said, exits in (
        ((powered, "--target-joules", "1e-9"), "no plan meets 1e-09 J: the fastest takes", 1),
        ((powered, "--target-joules", "-1"), "larger than 0; got -1", 2),
        ((powered, "--target-joules", "1", "--target-ms", "1"), "exactly one of target_ms", 2),
        ((storage, "--target-joules", "1"), "knows no power of its device formula", 2),
    ):
        code, out, err = run("front", *arguments)
        assert (code, out) == (exits, "")
        assert said in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--objective", "energy", "--target-ms", "5"), "takes target_joules, not target_ms"),
        (("--target-joules", "5"), "target_joules needs objective energy"),
        (("--objective", "energy", "--target-joules", "-5"), "target_joules: .*got -5"),
        (("--target-joules", "5", "--target-ratio", "0.5"), "exactly one of"),
        (("--objective", "energy", "--target-joules", "5"), r"cpu has no \[power\]"),
        (("--target-ratio", "0.5", "--max-joules", "5"), r"cpu has no \[power\]"),
    ],
)
def test_energy_that_cannot_be_searched_is_one_line(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("search", "--model", "gsm-mini", "--device", "cpu", *arguments)
    assert (code, out) == (2, "")
    assert re.search(said, err), err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir()), "a refused search leaves no study behind"


def test_a_plan_is_shown_by_short_forms_where_formats_are_alike():
    plan = CompressionPlan.validate({"layers": [{"mlp": "w8"}, {"mlp": "w8a8", "down": "w8"}]})
    columns, rows = plan_rows(plan)
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [row["mlp"] for row in cells] == ["w8", "gate_up w8a8, down w8", "fp32"]
    assert [row["attention"] for row in cells] == ["fp32", "fp32", ""]
