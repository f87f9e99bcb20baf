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
from hwsearch.cli.printing import print_table, print_text


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


#: Flags that several verbs have and that mean another thing there: how many things, and why.
OTHER_MEANINGS = {
    "--steps": (2, "passes of a model; levels of noise"),
    "--limit": (
        4,
        "calibration questions; problems to score, at least one; or none; questions to ask",
    ),
    "--plan": (2, "a study's trial or a file; a file"),
    "--runtime": (3, "what a bundle is written for; what it must be for; what is timed"),
    "--device": (2, "one that is there; how a new one is called"),
    "--model": (2, "what is loaded; whose sizes are enough"),
    "--rounds": (3, "samples of operators; answers to questions; timings of a row"),
    "--problems": (2, "held-out ones for finalists; a number of questions to ask"),
    "--objective": (2, "what a search is for; what is told of plans"),
    "--out": (3, "a folder; a page; the folder that holds devices"),
}


def meanings():
    """For each flag what it means: its help, its type and how its value is called, by verb."""
    found = {}
    for verb in VERBS:
        command = command_of(verb)
        context = click.Context(command)
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                kind = json.dumps(parameter.type.to_info_dict(), default=str, sort_keys=True)
                said = (parameter.help, kind, parameter.make_metavar(context), parameter.is_flag)
                found.setdefault(parameter.opts[-1], {})[verb] = said
    return found


def test_a_flag_has_one_help_and_one_type_everywhere():
    texts = meanings()
    counts = {flag: len(set(said.values())) for flag, said in texts.items()}
    several = {flag: count for flag, count in counts.items() if count > 1}
    assert several == {flag: count for flag, (count, _) in OTHER_MEANINGS.items()}, texts
    assert all(text for said in texts.values() for text, *_ in said.values()), "all have a help"


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
        monkeypatch.setattr("hwsearch.cli.printing.output_width", lambda width=width: width)
        print_table("front", columns, rows)
        widths[width] = capsys.readouterr().out
    assert "generation ms: 4.60\n" in widths[30]
    assert "│" in widths[100] and "│" not in widths[30]
    for out in widths.values():
        assert all(
            word in out
            for word in ["trial", "nats", "generation", "threshold", "advance", "0.00097"]
        )


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_fits_the_terminal(run, monkeypatch, verb, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run(*([] if verb is None else [verb]), "--help")
    assert code == 0
    prose = out.partition("\nExamples:\n")[0]  # an example is one line, to be pasted
    too_long = [line for line in prose.splitlines() if len(line) > columns]
    assert all(len(line.split()) == 1 for line in too_long), too_long  # one word cannot be wrapped
    flags = re.findall(r"--[a-z][a-z-]+[a-z]", out)
    assert {"--help", "--json"} <= set(flags)


def test_a_piped_table_is_as_wide_as_columns_says(monkeypatch, capsys):
    columns = ["trial", "decoding", "best uniform in that time"]
    rows = [(7, "threshold 0.9, stop, advance", "-")]
    shown = {}
    for width in ("40", "60", None):
        if width is None:
            monkeypatch.delenv("COLUMNS")
        else:
            monkeypatch.setenv("COLUMNS", width)
        print_table("front of [b]s[/b]", columns, rows)
        print_text("losses within 0.0009 nats are tied: rounding alone moves them as far")
        shown[width] = capsys.readouterr().out
    for width in ("40", "60"):
        assert max(map(len, shown[width].splitlines())) <= int(width)
        assert shown[width].split()[-3:] == ["them", "as", "far"]
    assert "moves them as far\n" in shown[None] and len(shown[None].splitlines()) == 7
    assert all("front of [b]s[/b]" in out for out in shown.values()), "a name is no style"


def test_colours_are_left_out_where_they_are_not_wanted():
    code = (
        "from hwsearch.cli.printing import PipedConsole; from rich.text import Text; "
        "PipedConsole().print(Text('x', style='red'))"
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
