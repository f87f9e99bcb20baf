"""Every script of examples/, run with small numbers in an empty folder."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all of them run, after the search that two of them read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        patch.setenv("HWSEARCH_QUESTIONS", "1")
        patch.chdir(here := tmp_path_factory.mktemp("examples"))
        yield here


@pytest.fixture(scope="module")
def searched(folder):
    run("search", ["--trials", "2", "--questions", "1"])
    return folder


def run(name, *arguments):
    module = importlib.import_module(name)
    assert Path(module.__file__).parent == EXAMPLES
    module.main(*arguments)


@pytest.mark.slow
def test_a_search_ends_with_files_that_answer(searched):
    assert (searched / "bundle" / "plan.json").is_file()


@pytest.mark.slow
def test_a_study_is_read_without_its_model(searched, capsys):
    run("read_front")
    printed = capsys.readouterr().out
    assert "plans were tried" in printed and printed.count("within ") == 2


@pytest.mark.slow
def test_a_bundle_answers_without_torch(searched):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "run_without_torch.py", "bundle"],
        cwd=searched,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "answer: " in done.stdout and done.stdout.endswith("torch was loaded: False\n")


def test_a_task_of_ones_own_scores_and_keeps_its_splits_apart(folder, capsys):
    own = importlib.import_module("own_task")
    run("own_task", ["--limit", "4"])
    assert "of 4 solved" in capsys.readouterr().out
    questions = {
        split: {p.question for p in own.problems(split, 20, 0)} for split in ("test", "train")
    }
    assert questions["test"] != questions["train"]


def test_a_format_of_ones_own_loses_more_than_eight_bits(folder, capsys):
    run("own_format", ["--questions", "1"])
    lost = dict(re.findall(r"(\S+) +([\d.]+) nats", capsys.readouterr().out))
    assert float(lost["ternary"]) > float(lost["w8a8"])


def test_a_plan_is_priced_on_devices_of_every_kind(folder, capsys):
    run("compare_devices")
    printed = capsys.readouterr().out
    assert printed.count(" ms (") == 4 and "measured" in printed and "published" in printed


def test_every_script_is_listed_and_tried():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tried = Path(__file__).read_text(encoding="utf-8")
    for script in EXAMPLES.glob("*.py"):
        assert f"examples/{script.name}" in listed
        assert f'"{script.stem}"' in tried or f'"{script.name}"' in tried
