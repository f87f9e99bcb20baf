"""README and docs, tried: every block runs, or says why not and is at least well-formed."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hwsearch.cli.main import VERBS, hwsearch
from hwsearch.jobs.predicted_model import subject_of
from hwsearch.latency.benchmarks.llama_bench import is_llama_bench, read_bench
from hwsearch.latency.devices.device import load_device
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study.settings import StudySpec
from tests.docs.blocks import LANGUAGES, PAGES, ROOT, Block, all_blocks, blocks_of
from tests.docs.running import SHORT

BLOCKS = all_blocks()
LINES = [
    pytest.param(block, words, id=f"{block}-{number}")
    for block in BLOCKS
    if block.language == "shell"
    for number, words in enumerate(block.commands())
]


def test_readme_runs_but_for_what_installs():
    """The page that is pasted first may leave nothing else out."""
    readme = [block for block in BLOCKS if block.page == "README.md"]
    left_out = [w[0] for b in readme if b.not_run for w in b.commands()]
    assert set(left_out) <= {"make", "pip"}
    assert {block.language for block in readme if block.is_run} == {"python", "shell"}


def test_every_block_says_what_it_is_and_those_not_run_say_why(record_property):
    for block in BLOCKS:
        assert block.language in LANGUAGES, f"{block}: {block.language!r} is none of {LANGUAGES}"
        assert not block.not_run or block.language in {"python", "shell"}, block
    left_out = [f"{block}: {block.not_run}" for block in BLOCKS if block.not_run]
    assert all(len(line.split(": ", 1)[1]) > 10 for line in left_out)
    record_property("blocks_not_run", left_out)
    print(f"{len(left_out)} of {len(BLOCKS)} blocks are not run", *left_out, sep="\n")
    # no Python is left out; whoever leaves out more shell than this must find a way to run it
    assert not [block for block in BLOCKS if block.not_run and block.language == "python"]
    assert len(left_out) <= 5


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=str)
def test_lines_fit_a_window(page):
    """But for tables, code, and commands that cannot be broken: `mdformat --wrap 120` makes them so."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        long = len(line) > 120 and not fenced and not line.lstrip().startswith("|")
        assert not long or re.fullmatch(r"\s*`[^`]+`\S*", line), (
            f"{page.name}:{number}: {len(line)}"
        )


@pytest.mark.parametrize(("block", "words"), LINES)
def test_every_shell_line_is_well_formed(block, words):
    """Also of blocks that are not run: verbs and flags exist and values are of their type."""
    tool = words[0]
    if tool == "hwsearch":
        parse(words[1:])
    elif tool == "python":
        script = ROOT / words[1]
        if not script.is_file():
            assert words[1] == "measure.py", f"{block}: there is no {words[1]}"
            return
        # a study's scripts share their options
        text = "".join(path.read_text(encoding="utf-8") for path in script.parent.glob("*.py"))
        for flag in (word for word in words[2:] if word.startswith("--")):
            assert f'"{flag}"' in text, f"{block}: {script.name} knows no {flag}"
    elif tool == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif tool == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = re.fullmatch(r"hwsearch\[(.+)\]", words[2])
        assert extras and set(extras[1].split(",")) <= set(project["optional-dependencies"])
    elif tool == "hwsearch-lm-eval":
        assert words[1:3] == ["--model", "hwsearch"]
    else:
        raise AssertionError(f"{block}: nobody knows how to try {tool}")


def parse(words):
    """Let click read a command line without running it."""
    group = hwsearch.make_context("hwsearch", list(words), resilient_parsing=False)
    name, command, rest = hwsearch.resolve_command(group, [*group._protected_args, *group.args])
    with command.make_context(name, rest, parent=group):
        return name


def test_a_wrong_flag_verb_or_value_in_the_docs_would_be_noticed():
    assert parse(["search", "study.toml", "--target-ms", "5"]) == "search"
    for wrong in (
        ["serch", "--model", "gsm-mini"],
        ["search", "--modle", "gsm-mini"],
        ["search", "--target-ms", "soon"],
        ["search", "--objective", "speed"],
        ["export", "half"],
    ):
        with pytest.raises(click.UsageError):
            parse(wrong)


def test_files_that_are_shown_are_read_by_what_reads_them(tmp_path):
    makers = Decoding(gen_length=48, block_length=16, steps=48, refresh_interval=16)

    def read_json(path):
        # a plan has layers; what changes a decoding has none; a benchmark is a list; a config has sizes
        if is_llama_bench(path):
            return read_bench(path)
        if '"d_model"' in path.read_text(encoding="utf-8"):
            return subject_of(str(path))
        if '"layers"' in path.read_text(encoding="utf-8"):
            return CompressionPlan.read(path)
        return makers.changed(Decoding.read_changes(path))

    def read_toml(path):
        text = path.read_text(encoding="utf-8")
        if "provenance" not in text:
            return StudySpec.resolve(path, {})
        folder = path.parent / "my-gpu"
        folder.mkdir()
        (folder / "device.toml").write_text(text, encoding="utf-8")
        return load_device(folder).costs.formats()

    readers = {"toml": read_toml, "json": read_json}
    shown = [block for block in BLOCKS if block.language in readers]
    assert shown
    for block in shown:
        path = tmp_path / f"{block.line}.{block.language}"
        path.write_text(block.text, encoding="utf-8")
        assert readers[block.language](path), block


def test_every_verb_is_in_the_docs():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")  # `make demo` is `hwsearch demo`
    assert [verb for verb in VERBS if f"hwsearch {verb}" not in text + makefile] == []


PAGE = """
<!-- not run: needs a GPU -->
```shell
hwsearch profile --device "my gpu"   # slow
```

Words come between, so the next block has no note.

<!-- file: plan.json -->
```json
{}
```

    indented
"""


def test_notes_belong_to_the_block_that_follows():
    first, second, third = blocks_of(PAGE)
    assert first.not_run == "needs a GPU" and not first.is_run
    assert first.commands() == [["hwsearch", "profile", "--device", "my gpu"]]
    assert (second.file, second.not_run, second.language) == ("plan.json", "", "json")
    assert third == Block("page", third.line, "", "indented\n")


def test_the_environment_shortens_what_flags_leave_open(tmp_path, monkeypatch):
    """Every variable of `SHORT` is one that an option listens to, and flags win over it."""
    monkeypatch.setenv("HWSEARCH_SEARCH_TRIALS", "7")
    asked = ["search", "--model", "m", "--device", "cpu", "--target-ms", "1", "--dry-run"]
    for flags, trials in (([], 7), (["--trials", "9"], 9)):
        printed = CliRunner().invoke(hwsearch, [*asked, *flags])
        assert tomllib.loads(printed.output)["trials"] == trials
    for variable in set(SHORT) - {"HWSEARCH_QUESTIONS"}:
        _, verb, option = variable.lower().split("_", 2)
        command = hwsearch.get_command(click.Context(hwsearch), verb)
        assert option in {parameter.name for parameter in command.params}, variable


def test_the_variable_of_questions_is_documented_and_checked(monkeypatch):
    from hwsearch.errors import InputError
    from hwsearch.tasks.choice import TaskChoice

    whole = TaskChoice().calibration_questions(4)
    monkeypatch.setenv("HWSEARCH_QUESTIONS", "2")
    assert TaskChoice().calibration_questions(4) == whole[:2]
    for wrong in ("0", "-1", "2.5", "many", ""):
        monkeypatch.setenv("HWSEARCH_QUESTIONS", wrong)
        with pytest.raises(InputError, match="HWSEARCH_QUESTIONS must be a whole number"):
            TaskChoice().calibration_questions(4)
    text = (ROOT / "docs" / "reference" / "study-file.md").read_text(encoding="utf-8")
    assert all(variable in text for variable in SHORT if "_SEARCH_" in variable)
    assert "HWSEARCH_QUESTIONS" in text


def test_saved_files_are_valid_paths():
    for block in BLOCKS:
        assert not block.file or not Path(block.file).is_absolute()
        if block.language == "json":
            json.loads(block.text)
