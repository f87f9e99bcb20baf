"""Help, examples, guesses and completion: what a newcomer sees before anything is computed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from hwsearch.cli.examples import BEGIN, EXAMPLES
from hwsearch.cli.help import GROUPS
from hwsearch.cli.main import SECTIONS, VERBS, hwsearch
from hwsearch.cli.options import print_table


def command_of(verb):
    return hwsearch.get_command(click.Context(hwsearch), verb)


def flags_of(verb):
    return {flag for parameter in command_of(verb).params for flag in parameter.opts}


def test_every_verb_is_in_one_section_and_has_examples(run):
    listed = [verb for verbs in SECTIONS.values() for verb in verbs]
    assert sorted(listed) == sorted(VERBS) == sorted(EXAMPLES)
    code, out, _ = run("--help")
    assert code == 0
    assert all(re.search(rf"^{title}:", out, re.MULTILINE) for title in SECTIONS)
    assert all(line in out for line in BEGIN)


@pytest.mark.parametrize(
    ("verb", "line"), [(verb, line) for verb, lines in EXAMPLES.items() for line in lines]
)
def test_examples_are_shown_and_can_be_pasted(run, verb, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(verb, "--help")
    assert code == 0 and f"  {line}\n" in out
    program, name, *arguments = shlex.split(line.partition(" > ")[0])
    assert (program, name) == ("hwsearch", verb)
    for file in (part for part in arguments if Path(part).suffix in (".json", ".zip", ".toml")):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).touch()
    assert command_of(verb).make_context(verb, arguments).params


def test_groups_of_options_name_real_ones():
    known = set().union(*map(flags_of, VERBS))
    assert set().union(*GROUPS.values()) <= known


def test_a_long_help_is_in_groups_and_tells_each_option_once(run):
    _, out, _ = run("search", "--help")
    assert all(f"\n{title}:\n" in out for title in ("Target", "What is asked", "Examples"))
    listed = re.findall(r"^  (--[a-z-]+)", out, re.MULTILINE)
    assert len(listed) == len(set(listed)) > 40


#: Flags that several verbs have and that mean another thing there, each with its reason.
OTHER_MEANINGS = {
    "--steps": "passes of a model, or levels of noise",
    "--limit": "calibration questions, or test problems",
    "--plan": "a number of a study, or a file",
    "--runtime": "what a bundle is written for, runs on, or what is timed",
    "--device": "what is searched on, or how a new device is called",
    "--model": "what is compressed, or whose sizes are timed",
    "--rounds": "of operators, or of questions",
    "--decoding": "what a search keeps to, or how a model is scored",
    "--problems": "held-out problems of finalists, or of a benchmark",
    "--objective": "what a search, a comparison or a prediction is about",
    "--formats": "offered, or timed",
    "--out": "what is written differs by verb",
    "--calibration": "a file, or a number of problems",
    "--target-ratio": "of a search, or where the demo chooses by itself",
}


def test_a_flag_has_one_meaning_everywhere():
    texts = {}
    for verb in VERBS:
        for parameter in command_of(verb).params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                texts.setdefault(parameter.opts[-1], {})[verb] = parameter.help
    differ = {flag for flag, said in texts.items() if len(set(said.values())) > 1}
    assert differ - OTHER_MEANINGS.keys() - set(ALIKE) == set()


#: Flags that mean one thing, told in words that suit the verb.
ALIKE = (
    "--path", "--seed", "--trials", "--target-ms", "--target-joules", "--overwrite", "--json", "--dry-run",
    "--picture", "--threads", "--prompt-length", "--methods", "--shares",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("serach",), "search"),
        (("ls", "modles"), "models"),
        (("front", "s", "--fromat", "csv"), "--format"),
        (("search", "--objective", "fornt"), "front"),
        (("evaluate", "gsm-mni"), "gsm-mini"),
        (("predict", "plan.json", "--device", "aple-m2"), "apple-m2"),
        (("evaluate", "gsm-mini", "--task", "gsm9k"), "gsm8k"),
        (("front", "haf"), "half"),
        (
            ("search", "--model", "m", "--device", "apple-m2", "--target-ms", 1, "--sampler", "aditive"),
            "additive",
        ),
    ],
)  # fmt: skip
def test_what_was_meant_is_guessed_in_one_line(run, tmp_path, monkeypatch, arguments, meant):
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text('{"layers": [{}, {}, {}, {}, {}, {}]}')
    Path("studies").mkdir()
    Path("studies/half.db").touch()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and err.startswith("error: ")
    assert re.search(rf"[Dd]id you mean '{meant}'\?", err), err


def test_without_a_verb_the_help_is_shown(run):
    code, out, err = run()
    assert code == 2 and out == "" and "Usage: hwsearch" in err


def test_with_json_an_error_is_the_document(run):
    code, out, err = run("front", "nope", "--json")
    found = json.loads(out)["error"]
    assert code == found["exit_code"] == 2
    assert found["kind"] == "UnknownNameError" and err == f"error: {found['message']}\n"
    code, out, _ = run("ls", "modles", "--json")
    assert json.loads(out)["error"]["kind"] == "BadParameter"


def test_quiet_leaves_out_notes_and_keeps_errors(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("ls", "studies")[2] == "no studies yet\n"
    assert run("ls", "studies", "--quiet") == (0, "", "")
    assert run("--quiet", "front", "nope")[2].startswith("error: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command(run, shell):
    code, out, _ = run("completion", shell)
    assert code == 0 and f"_HWSEARCH_COMPLETE={shell}_complete" in out


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        (["predict", "p.json", "--device"], "app", "apple-m2"),
        (["inspect"], "gsm", "gsm-mini"),
        (["front"], "ha", "half"),
        (["export"], "", "half"),
        (["evaluate", "gsm-mini", "--task"], "gsm8", "gsm8k"),
        ([], "prof", "profile"),
        (["search"], "--target-m", "--target-ms"),
    ],
)
def test_names_are_completed(tmp_path, monkeypatch, words, incomplete, found):
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    Path("studies/half.db").touch()
    completer = ShellComplete(hwsearch, {}, "hwsearch", "_HWSEARCH_COMPLETE")
    assert found in [item.value for item in completer.get_completions(words, incomplete)]


def test_what_is_no_name_is_completed_as_a_file():
    completer = ShellComplete(hwsearch, {}, "hwsearch", "_HWSEARCH_COMPLETE")
    (item,) = completer.get_completions(["inspect"], "./mod")
    assert item.type == "file"


def test_a_narrow_terminal_has_whole_words(monkeypatch, capsys):
    columns = ["trial", "loss (nats)", "generation ms", "decoding", "meets target"]
    rows = [(7, "0.00097", "4.60", "threshold 0.9, stop, advance", "yes")]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    widths = {}
    for width in (30, 100):
        monkeypatch.setattr("hwsearch.cli.options.output_width", lambda width=width: width)
        print_table("front", columns, rows)
        widths[width] = capsys.readouterr().out
    assert "generation ms: 4.60\n" in widths[30]
    assert "│" in widths[100] and "│" not in widths[30]
    for out in widths.values():
        assert all(
            word in out
            for word in ["trial", "nats", "generation", "threshold", "advance", "0.00097"]
        )


def test_colours_are_left_out_where_they_are_not_wanted():
    code = (
        "from hwsearch.cli.options import stdout; from rich.text import Text; "
        "stdout.print(Text('x', style='red'))"
    )
    shown = {
        value: subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ":".join(sys.path), "TERM": "xterm", "FORCE_COLOR": "1", **unwanted},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for value, unwanted in {"wanted": {}, "unwanted": {"NO_COLOR": "1"}}.items()
    }
    assert "\x1b[31m" in shown["wanted"] and "\x1b[31m" not in shown["unwanted"]
