from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner

from hwsearch.cli.models.baselines import command
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.jobs import baselines
from hwsearch.jobs.baselines import (
    Bench,
    RowSelection,
    Settings,
    plan_jobs,
    read_rows,
    run_baselines,
)
from hwsearch.plan import Decoding
from hwsearch.report.baselines import METHODS, BaselineRow, documents, markdown
from hwsearch.testing.tiny import tiny_denoiser

pytest.importorskip("matplotlib")
DECODING = Decoding(gen_length=64, block_length=16, steps=8, refresh_interval=2)
SETTINGS = Settings("tiny", limit=2, calibration=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    denoiser = replace(tiny_denoiser(), decoding=DECODING)
    monkeypatch.setattr(baselines.ModelOptions, "load", lambda options, name: denoiser)


def row(method, correct, share=0.5, family="cache", kl=0.1):
    return BaselineRow(family, method, share, correct, kl, 100)


@pytest.mark.slow
def test_every_method_is_measured_once_and_a_cut_run_goes_on(tmp_path, monkeypatch):
    chosen = {"methods": ("keep-stable", "random", "sink-wanda"), "shares": (0.5,), "sweep": ()}
    families = ("cache", "structured", "unstructured")
    rows = run_baselines(SETTINGS, tmp_path, RowSelection(families=families, **chosen), rounds=1)
    assert [(r.family, r.method) for r in rows] == [
        ("none", "unpruned"),
        ("cache", "random"),
        ("cache", "keep-stable"),
        ("structured", "random"),
        ("structured", "sink-wanda"),
        ("unstructured", "random"),
        ("unstructured", "sink-wanda"),
    ]
    by = {(r.family, r.method): r for r in rows}
    assert abs(by["none", "unpruned"].kl) < 1e-5 < by["cache", "random"].kl
    assert by["none", "unpruned"].speed_up == 1.0
    assert by["structured", "random"].speed_up == by["structured", "sink-wanda"].speed_up > 0
    assert by["unstructured", "random"].speed_up is None
    whole, sizes = by["none", "unpruned"].size_bytes, by["structured", "random"].size_bytes
    assert sizes < whole and by["unstructured", "random"].size_bytes < whole
    assert all(len(r.correct) == 2 for r in rows)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])
    measured = []
    whole_measure = Bench.measure
    monkeypatch.setattr(
        Bench, "measure", lambda self, job: measured.append(job) or whole_measure(self, job)
    )
    again = run_baselines(SETTINGS, tmp_path, RowSelection(families=families, **chosen), rounds=1)
    assert [(job.method.family, job.method.name) for job in measured] == [
        ("unstructured", "sink-wanda")
    ]
    assert again == rows
    assert {"baselines.csv", "baselines.md", "baselines.png"} <= {
        p.name for p in tmp_path.iterdir()
    }


def test_parts_share_out_the_rows(tmp_path):
    chosen = {"families": ("cache",), "methods": ("recent",), "shares": (0.5,), "sweep": (0.2, 0.4)}
    run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **chosen))
    assert list(read_rows(tmp_path)) == ["cache/recent/0.5/2", "cache/recent/0.4/0"]
    assert not (tmp_path / "speed.json").exists()


def test_rows_of_other_settings_are_not_mixed(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"model": "other"}))
    with pytest.raises(InputError, match="rows of other settings"):
        run_baselines(SETTINGS, tmp_path)


ONE = {"families": ("cache",), "methods": ("recent",), "shares": (), "sweep": (0.2,)}


def use(monkeypatch, denoiser):
    monkeypatch.setattr(baselines.ModelOptions, "load", lambda options, name: denoiser)


def test_rows_of_other_content_are_not_mixed(tmp_path, monkeypatch):
    run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **ONE))
    same = replace(tiny_denoiser(), decoding=DECODING)
    others = {
        "the weights of the model": replace(tiny_denoiser(seed=1), decoding=DECODING),
        "the settings of the model": replace(same, end_token_id=2),
        "the calibration questions; the test problems": replace(same, prompt_template="{question}"),
    }
    for named, denoiser in others.items():
        use(monkeypatch, denoiser)
        with pytest.raises(InputError, match=f"what differs: .*{named}"):
            run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **ONE))
    use(monkeypatch, same)
    moved = replace(SETTINGS, model="elsewhere/tiny")
    assert len(run_baselines(moved, tmp_path, RowSelection(part=(2, 2), **ONE))) == 1
    monkeypatch.setattr(baselines, "__version__", "99.0")
    with pytest.raises(InputError, match=r"the code version \(.*, now hwsearch 99.0\)"):
        run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **ONE))


def test_an_older_folder_goes_on_with_a_warning_and_is_known_from_then_on(
    tmp_path, monkeypatch, caplog
):
    (tmp_path / "run.json").write_text(json.dumps(asdict(SETTINGS)))
    run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **ONE))
    assert "does not say of which weights" in caplog.text
    use(monkeypatch, replace(tiny_denoiser(seed=1), decoding=DECODING))
    with pytest.raises(InputError, match="the weights of the model"):
        run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **ONE))


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_damaged_note_of_the_run_is_one_line(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(
        InputError, match=r"run.json: (not JSON|it must hold an object).*; choose another folder"
    ):
        run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **ONE))


def test_a_model_of_numbers_that_are_none_is_refused(tmp_path, monkeypatch):
    denoiser = replace(tiny_denoiser(), decoding=DECODING)
    denoiser.network.lm_head.weight[0, 0] = float("nan")
    use(monkeypatch, denoiser)
    with pytest.raises(InputError, match=r"tensor lm_head.weight has 1 NaN"):
        run_baselines(SETTINGS, tmp_path, RowSelection(part=(2, 2), **ONE))


def test_bad_names_and_shares_are_refused():
    with pytest.raises(UnknownNameError, match="unknown family 'cahe'; did you mean 'cache'"):
        plan_jobs(("cahe",), (), (0.5,), (), 1)
    with pytest.raises(UnknownNameError, match="did you mean 'wanda'"):
        plan_jobs(("cache",), ("wandaa",), (0.5,), (), 1)
    with pytest.raises(InputError, match=r"above 0 and below 1; got 1\.5"):
        plan_jobs(("cache",), (), (1.5,), (), 1)


def test_methods_with_one_graph_are_timed_once():
    kinds = {(m.name, m.speed_kind(0.5)) for m in METHODS if m.family == "cache"}
    assert ("keep-stable", "cache/mass/0.5") in kinds
    assert ("keep-stable-static", "cache/fixed/0.5") in kinds
    assert ("recent", "cache/fixed/0.5") in kinds
    assert ("mean-query", "cache/query/0.5") in kinds
    assert {m.speed_kind(0.5) for m in METHODS if m.family == "unstructured"} == {None}


def test_others_are_tested_against_the_sink_aware_row_on_the_same_problems():
    rows = [row("keep-stable", "1110"), row("random", "1000"), row("random", "1", share=0.3)]
    found = {(r["method"], r["share"]): r for r in documents(rows)}
    assert found["random", 0.5]["difference"] == 0.5
    assert found["random", 0.5]["p_value"] == 0.5  # both of two discordant problems: 2 * (1/2)^2
    assert found["keep-stable", 0.5]["p_value"] is None
    assert found["random", 0.3]["p_value"] is None
    assert (found["random", 0.5]["accuracy"], found["random", 0.5]["solved"]) == (0.25, 1)


def test_the_markdown_table_leaves_out_what_was_only_swept():
    text = markdown([row("keep-stable", "1110"), row("random", ""), row("recent", "0000")])
    assert text.count("\n") == 4
    assert "| cache | keep-stable | 50% | 75.0 % (30.1 to 95.4) |  |  | 0.100 |" in text


@pytest.mark.slow
def test_the_command_writes_csv_and_json(tmp_path):
    arguments = ["tiny", "-o", str(tmp_path), "--limit", "1", "--families", "cache"]
    arguments += ["--methods", "recent", "--shares", "0.5", "--sweep", "", "--rounds", "1"]
    arguments += ["--calibration-problems", "2"]
    done = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert [r["method"] for r in json.loads(done.stdout)] == ["unpruned", "recent"]
    with (tmp_path / "baselines.csv").open() as file:
        assert [r["method"] for r in csv.DictReader(file)] == ["unpruned", "recent"]
    assert "recent" in CliRunner().invoke(command, arguments, catch_exceptions=False).output
    bad = CliRunner().invoke(command, [*arguments, "--part", "3/2"])
    assert bad.exit_code == 2 and "must be I/N" in bad.output
