"""A study's page: its sections from a small real study, and what it does with a hostile name."""

import json
import re

import pytest
from click.testing import CliRunner

from hwsearch.cli.main import hwsearch
from hwsearch.errors import InputError
from hwsearch.jobs.reporting import write_report
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.page import SECTIONS, sections_of
from hwsearch.study import Goal, load_study
from hwsearch.study.records.record import update_record
from hwsearch.study.run import run_study
from tests.study.test_run import make_objective

pytest.importorskip("vl_convert")

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "tiny.db"
    run_study(make_objective(Goal(target_ratio=0.6)), trials=12, name="tiny", storage=str(path))
    return path


@pytest.fixture(scope="module")
def page(database, tmp_path_factory):
    return write_report(str(database), tmp_path_factory.mktemp("page") / "report.html")


def test_the_page_has_every_section_and_says_what_is_missing(page):
    text = page.path.read_text(encoding="utf-8")
    for key, (title, _) in SECTIONS.items():
        assert f'<section id="{key}"' in text
        assert title in text
    for reason in page.missing.values():
        assert "hwsearch " in reason or "no command" in reason, "a gap names what would fill it"


def test_every_figure_has_a_title_a_text_and_its_data(database):
    facts = Facts(load_study(str(database)), str(database))
    figures = [figure for section in sections_of(facts) for figure in section.figures]
    assert {"front", "plan"} <= {figure.name for figure in figures}
    for figure in figures:
        assert figure.title and len(figure.alt) > 30
        assert figure.table.rows
        assert {len(row) for row in figure.table.rows} == {len(figure.table.columns)}


def test_the_front_has_every_trial_and_its_plan_as_a_hint(database):
    study = load_study(str(database))
    facts = Facts(study, "tiny")
    front = SECTIONS["front"][1](facts).figures[0]
    assert [row[0] for row in front.table.rows] == [
        str(n) for n in study.frame().sort_values("generation_ms", kind="stable")["number"]
    ]
    drawn = json.dumps(front.spec)
    for number in study.frame()["number"]:
        assert f"trial {number}: loss" in drawn


def test_the_chosen_plan_is_the_best_or_the_trial_that_is_asked_for(database):
    study = load_study(str(database))
    assert Facts(study, "tiny").chosen.plan == study.best_plan
    assert Facts(study, "tiny", trial=0).chosen.plan == study.plan(0)


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


def test_names_are_text_and_no_markup(database, tmp_path):
    study = load_study(str(database))
    before = study.record.model
    update_record(study.optuna, model=HOSTILE, command=f"hwsearch search {HOSTILE}")
    try:
        found = write_report(study, tmp_path / "report.html")
    finally:
        update_record(study.optuna, model=before, command=None)
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
