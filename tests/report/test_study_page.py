"""A study's page: its sections from a small real study, and what it does with a hostile name."""

import json
import re

import pytest
from click.testing import CliRunner

from hwsearch.cli.main import hwsearch
from hwsearch.errors import InputError
from hwsearch.jobs.reporting import write_report
from hwsearch.latency.devices.device import Provenance, load_device
from hwsearch.latency.devices.folder import write_device
from hwsearch.latency.devices.places import device_folders
from hwsearch.plan import CompressionPlan
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.page import SECTIONS, sections_of
from hwsearch.report.study.section import MissingFactsError
from hwsearch.report.study.sections.accuracy import answered_plans
from hwsearch.report.study.sections.devices import candidates, compared
from hwsearch.report.study.words import formats_words, plan_lines
from hwsearch.study import Goal, SearchSpace, load_study, prepare
from hwsearch.study.finalists import judge_finalists
from hwsearch.study.records.outcome import Outcome, keep_outcomes
from hwsearch.study.records.record import update_record
from hwsearch.study.run import run_study
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_energy import make
from tests.study.test_run import QUESTIONS, WORK

pytest.importorskip("vl_convert")

HOSTILE = '<img src=x onerror="alert(1)">'
TITLES = {"baseline": "uncompressed", "winner": "chosen plan"}


def outcome(name, plan, latency, correct, measured_ms):
    return Outcome(
        name=name,
        title=TITLES[name],
        plan=plan,
        predicted_ms=latency.generation_ms,
        measured_ms=measured_ms,
        target_ms=1.0,
        predicted_passes=8.0,
        measured_passes=8.0,
        tokens_per_second=100.0,
        correct=correct,
        size_bytes=1000,
        bundle=f"out/{name}",
        command="hwsearch demo -o out",
        environment={"processor": "a processor of that day"},
        finished="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture(scope="module")
def objective(tmp_path_factory):
    """A tiny model on a device that has a folder."""
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    measured = {"provenance": Provenance.MEASURED, "environment": {"processor": "a formula"}}
    info = device.info.model_copy(update=measured)
    folder = write_device(info, device.table, tmp_path_factory.mktemp("tables"))
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5))
    goal = Goal(target_ratio=0.6)
    return prepare(denoiser, space, load_device(folder), WORK, goal, QUESTIONS)


@pytest.fixture(scope="module")
def database(objective, tmp_path_factory):
    """A study that was searched, and nothing more."""
    path = tmp_path_factory.mktemp("study") / "tiny.db"
    run_study(objective, trials=12, name="tiny", storage=str(path))
    return path


@pytest.fixture(scope="module")
def measured(objective, tmp_path_factory):
    """A study whose best plan and uncompressed model were measured, and that has finalists."""
    path = tmp_path_factory.mktemp("measured") / "tiny.db"
    study = run_study(objective, trials=12, name="tiny", storage=str(path))
    judge_finalists(study, objective, 2, 4)
    whole, best = CompressionPlan.uniform(2), study.best_plan
    found = [
        outcome("baseline", whole, objective.latency(whole), "1110", 2.0),
        outcome("winner", best, objective.latency(best), "1100", 0.9),
    ]
    keep_outcomes(study.optuna, found)
    return path


@pytest.fixture(scope="module")
def page(database, tmp_path_factory):
    return write_report(str(database), tmp_path_factory.mktemp("page") / "report.html")


def facts_of(path, **options):
    return Facts(load_study(str(path)), str(path), **options)


def section(key, facts):
    return SECTIONS[key][1](facts)


def test_the_page_has_every_section_and_says_what_is_missing(page):
    text = page.path.read_text(encoding="utf-8")
    for key, (title, _) in SECTIONS.items():
        assert f'<section id="{key}"' in text
        assert title in text
    assert page.missing.keys() == {"measured", "accuracy"}
    for reason in page.missing.values():
        assert "`hwsearch export" in reason, "a gap names what would fill it"


def test_a_study_that_was_measured_lacks_nothing(measured, tmp_path):
    found = write_report(str(measured), tmp_path / "report.html")
    assert found.missing == {}
    assert {"front", "plan", "operators", "layers", "measured", "accuracy", "sinks", "thresholds",
            "progress", "devices"} == set(found.figures)  # fmt: skip


def test_every_figure_has_a_title_a_text_and_its_data(measured):
    figures = [figure for section in sections_of(facts_of(measured)) for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures) == 10
    for figure in figures:
        assert figure.title and len(figure.alt) > 30
        assert figure.table.rows
        assert {len(row) for row in figure.table.rows} == {len(figure.table.columns)}


def test_the_summary_has_time_and_accuracy_beside_the_uncompressed_model(measured):
    said = " ".join(section("summary", facts_of(measured)).words)
    assert "measured at 0.9 ms: 10.0% below the target of 1 ms (measured)" in said
    assert "solves 50.0 % of 4 test problems" in said and "solves 75.0 %" in said
    assert "2.2 times as long" in said and "the difference is -25.0 points" in said


def test_a_target_says_whether_predictions_or_measurements_are_held_against_it(measured, database):
    study = load_study(str(measured))
    predicted = f"target of {study.unit.show(study.target_ms)} (predicted)"
    words = section("summary", facts_of(measured)).words
    assert predicted in words[0]
    assert words[1].startswith(
        "Measured times are held against a target of 1 ms (measured): 50.0 % of"
    )
    plain = section("summary", facts_of(database)).words
    assert not any("(measured)" in text for text in plain), "nothing was measured"
    said = [text for one in sections_of(facts_of(measured)) for text in (*one.words, one.missing)]
    numbers = [text for text in said if "target of" in text]
    assert len(numbers) >= 4
    assert all("(predicted)" in text or "(measured)" in text for text in numbers)


def test_the_summary_of_what_was_not_measured_says_how_to(database):
    said = " ".join(section("summary", facts_of(database)).words)
    assert f"`hwsearch export {database} -o bundle` does both" in said


def test_the_front_has_every_trial_and_its_plan_as_a_hint(database):
    frame = load_study(str(database)).frame()
    front = section("front", facts_of(database)).figures[0]
    assert sorted(int(row[0]) for row in front.table.rows) == sorted(frame["number"])
    drawn = json.dumps(front.spec)
    for row in frame.to_dict(orient="records"):
        assert f"trial {row['number']}: loss" in drawn
        assert plan_lines(row["plan"])[-1] in drawn


def test_the_chosen_plan_is_the_best_or_the_trial_that_is_asked_for(database):
    study = load_study(str(database))
    assert facts_of(database).chosen.plan == study.best_plan
    assert facts_of(database, trial=0).chosen.plan == study.plan(0)
    drawn = section("plan", facts_of(database, trial=0)).figures[0].table.rows
    assert [row[0] for row in drawn] == ["layer 0", "layer 1", "head"]
    assert drawn[0][1:6] == ("all", "fp32", "fp32", "fp32", "fp32")


def test_the_picture_of_a_plan_says_what_a_threshold_keeps(database, objective):
    study = load_study(str(database))
    number = next(
        int(row["number"])
        for row in study.frame().to_dict(orient="records")
        if row["plan"].layers[0].sink_threshold == 0.5
    )
    share = objective.sinks.kept_share(0, 0.5)
    cell = section("plan", facts_of(database, trial=number)).figures[0].table.rows[0][1]
    assert cell == f"{100 * share:.1f} % (≤ 0.5)"


def test_the_time_is_taken_apart_and_adds_up(database):
    facts = facts_of(database)
    chosen = facts.chosen
    parts = facts.pricing.spent(facts.device, chosen.plan, facts.passes_of(chosen))
    row = facts.row(chosen.plan)
    assert sum(part.ms for part in parts) == pytest.approx(row["generation_ms"])
    assert {part.layer for part in parts} == {0, 1, None}
    assert all(part.refresh_ms > 0 and part.step_ms > 0 for part in parts if part.layer is not None)


def test_predictions_stand_beside_measurements(measured):
    found = section("measured", facts_of(measured))
    rows = {row[0]: row for row in found.tables[0].rows}
    assert rows["chosen plan"][3] == "0.9" and rows["chosen plan"][5] == "2.2"
    assert "2 plans were exported" in found.words[0]


def test_loss_and_accuracy_are_of_measured_plans_and_finalists(measured):
    rows = answered_plans(facts_of(measured))
    assert [row["name"] for row in rows[:2]] == ["uncompressed", "chosen plan"]
    assert len(rows) == 4 and all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


def test_progress_never_rises(database):
    rows = section("progress", facts_of(database)).figures[0].table.rows
    least = [float(row[3]) for row in rows if row[3]]
    assert least == sorted(least, reverse=True) and len(rows) == 12


def test_devices_say_where_their_milliseconds_come_from(database):
    facts = facts_of(database)
    columns, _ = compared(facts, candidates(facts))
    assert columns[0].cells[0].cost == pytest.approx(facts.row(facts.chosen.plan)["generation_ms"])
    found = section("devices", facts)
    kinds = {row[0]: row[1] for row in found.figures[0].table.rows}
    assert kinds["formula"] == "measured"
    others = {name: kind for name, kind in kinds.items() if name != "formula"}
    assert others and all(load_device(n).info.provenance == kind for n, kind in others.items())
    lines = [line for line in found.words if line.startswith("Cannot run the chosen plan: ")]
    named = {name for line in lines for name in re.split(r"[ ,:]+", line.split(" (")[0])}
    assert set(device_folders()) <= named | set(kinds), "a device is drawn, or it is said why not"


def test_provenance_and_environment_name_machines_and_commands(measured):
    facts = facts_of(measured)
    sources = [" ".join(row) for row in section("provenance", facts).tables[0].rows]
    assert any(
        "a processor of that day" in row and "hwsearch demo -o out" in row for row in sources
    )
    columns = section("environment", facts).tables[0].columns
    assert columns == ("", "timed device", "search", "measurement", "this page")
    assert "hwsearch demo -o out" in section("commands", facts).commands.values()


def test_an_older_study_says_what_it_lacks_and_what_adds_it(objective, tmp_path):
    study = run_study(objective, trials=6, name="old", storage=str(tmp_path / "old.db"))
    update_record(study.optuna, geometry=None, sinks=None, environment=None)
    found = write_report(study, tmp_path / "report.html")
    assert {"spent", "sinks", "devices"} <= found.missing.keys()
    assert "`hwsearch search --model tiny" in found.missing["sinks"]
    assert "front" in found.figures and "plan" in found.figures


@pytest.mark.parametrize("folder", ["nowhere", "a" * 5000])
def test_a_device_whose_folder_is_gone_is_said(objective, tmp_path, folder):
    study = run_study(objective, trials=6, name="gone", storage=str(tmp_path / "gone.db"))
    update_record(study.optuna, device_folder=folder, device="nobodys-box")
    facts = Facts(study, "gone")
    with pytest.raises(MissingFactsError, match="profile --device nobodys-box"):
        section("spent", facts)


def test_a_study_of_energy_is_in_joules(tmp_path):
    goal = Goal(target_ratio=0.6, objective="energy")
    study = run_study(make(goal), trials=6, name="joules", storage=str(tmp_path / "s.db"))
    front = section("front", Facts(study, "joules")).figures[0]
    assert "predicted J" in front.table.columns
    assert "predicted generation energy (J)" in json.dumps(front.spec)


def test_plans_in_words():
    plan = CompressionPlan.uniform(3, "w8", "w8a8", head="w4")
    assert formats_words(plan) == "attention w8, mlp w8a8 in every layer, head w4"
    assert plan_lines(plan) == ["layers 0-2: attention w8, mlp w8a8", "head: w4"]


def test_the_page_asks_the_network_for_nothing(page):
    text = page.path.read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?!#)[^"'>\s]+""", text) == []
    assert re.findall(r"url\((?!#)", text) == [] and "@import" not in text
    parts = re.findall(r'\bid="([^"]+)"', text)
    assert len(parts) == len(set(parts)), "several drawings share a page"
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy.group(1).startswith("default-src 'none';")
    assert "unsafe-inline" not in policy.group(1).split("script-src")[1].split(";")[0]


def test_names_are_text_and_no_markup(objective, tmp_path):
    study = run_study(objective, trials=6, name=HOSTILE, storage=str(tmp_path / "s.db"))
    update_record(study.optuna, model=HOSTILE, command=f"hwsearch search {HOSTILE}")
    found = write_report(study, tmp_path / "report.html")
    text = found.path.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "&lt;img" in text


def test_a_page_that_is_there_is_kept_unless_it_may_be_replaced(database, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_report(str(database), path)
    assert path.read_text() == "mine"
    write_report(str(database), path, overwrite=True)
    assert path.read_text().startswith("<!doctype html>")
    assert [other.name for other in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_one_line(database, tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*nowhere"):
        write_report(str(database), tmp_path / "nowhere" / "report.html")


def test_the_verb_prints_one_document_and_writes_pictures(database, tmp_path):
    out, pictures = tmp_path / "report.html", tmp_path / "pictures"
    arguments = ["report", str(database), "-o", str(out), "--figures", str(pictures), "--json"]
    done = CliRunner().invoke(hwsearch, arguments, standalone_mode=False)
    assert done.exception is None, done.output
    document = json.loads(done.output)
    assert document["path"] == str(out) and document["address"].startswith("file://")
    names = {f"{name}.{kind}" for name in document["figures"] for kind in ("png", "svg")}
    assert {path.name for path in pictures.iterdir()} == names
    assert (pictures / "front.png").read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(hwsearch, arguments, standalone_mode=False)
    assert isinstance(again.exception, InputError)
