"""Options and printing that several verbs share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, Group
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from hwsearch.cli.completion import TASK
from hwsearch.cli.output import output
from hwsearch.progress import showing

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of all chance.")
kept_heads_option = click.option(
    "--kept-heads", help="Shares of the heads that layers may keep, comma separated: 1.0,0.5."
)
kept_channels_option = click.option(
    "--kept-channels", help="Shares of the mlp's channels that layers may keep, comma separated."
)
storage_option = click.option(
    "--storage", help="Optuna storage: a URL, or the path of an SQLite file."
)
prompt_length_option = click.option(
    "--prompt-length",
    type=click.IntRange(min=1),
    help="Tokens of the prompt; the task's median if left.",
)


def count_option(name: str, default: int, text: str) -> Callable[[Any], Any]:
    """An option that is a whole number above 0."""
    kind = click.IntRange(min=1)
    return click.option(name, type=kind, default=default, show_default=True, help=text)


_PATH = click.Path(path_type=str)

#: What is asked, as `hwsearch.tasks.choice.TaskChoice` names it.
TASK_OPTIONS = {
    "task": click.option(
        "--task",
        type=TASK,
        help="A task, see hwsearch ls tasks; or package.module:function. gsm-mini if left.",
    ),
    "task_path": click.option(
        "--task-path", help="Where its problems are: a JSONL file, a folder, or a hub id."
    ),
    "shots": click.option(
        "--shots", type=_PATH, help="JSONL of solved problems to show before each question."
    ),
    "num_shots": click.option(
        "--num-shots", type=click.IntRange(min=0), help="How many are shown; the task's if left."
    ),
    "apply_chat_template": click.option(
        "--apply-chat-template",
        is_flag=True,
        default=None,
        help="Ask by the model's chat template.",
    ),
    "calibration": click.option(
        "--calibration", type=_PATH, help="JSONL of questions, or problems, to calibrate on."
    ),
    "limit": click.option(
        "--limit", type=click.IntRange(min=1), help="Calibration questions at most; 96 if left."
    ),
}

#: How a model is loaded, as `hwsearch.denoisers.loading.options.ModelOptions` names it.
MODEL_OPTIONS = {
    "dtype": click.option(
        "--dtype", help="Arithmetic of the model: float32 (if left), bfloat16, float16."
    ),
    "torch_device": click.option("--torch-device", help="Such as cpu (if left) or cuda."),
    "memory": click.option(
        "--memory", help="Bytes that may be held, such as 8GiB; half of the machine's if left."
    ),
    "mask_token_id": click.option(
        "--mask-token-id", type=click.IntRange(min=0), help="The mask, where no file names it."
    ),
    "end_token_id": click.option(
        "--end-token-id", type=click.IntRange(min=0), help="The end token, where no file names it."
    ),
    "prompt_template": click.option(
        "--prompt-template", help="Text around {question}; the model's own if left."
    ),
    "gen_length": click.option(
        "--gen-length", type=click.IntRange(min=1), help="Tokens that the model's makers write."
    ),
    "block_length": click.option(
        "--block-length", type=click.IntRange(min=1), help="Tokens that they write together."
    ),
    "steps": click.option(
        "--steps", type=click.IntRange(min=1), help="Passes over a whole generation of theirs."
    ),
    "causal": click.option(
        "--causal",
        is_flag=True,
        default=None,
        help="Read an autoregressive checkpoint: a causal mask, one token a pass.",
    ),
}


def task_options(*without: str) -> Callable[[Any], Any]:
    """The options of a task, but for some that a verb calls otherwise."""
    return _together(TASK_OPTIONS, without)


def model_options(*without: str) -> Callable[[Any], Any]:
    """The options of how a model is loaded, but for some."""
    return _together(MODEL_OPTIONS, without)


def _together(
    options: dict[str, Callable[[Any], Any]], without: Sequence[str]
) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for name in reversed(options):
            if name not in without:
                command = options[name](command)
        return command

    return add


def given(flags: dict[str, Any], options: Iterable[str]) -> dict[str, Any]:
    """Take those of some options out of a verb's flags that were given."""
    found = {name: flags.pop(name) for name in options if name in flags}
    return {name: value for name, value in found.items() if value is not None}


#: Columns of tables that are written to a pipe.
PIPE_WIDTH = 160


def say(text: str) -> None:
    """Tell how a long piece of work gets on, above the progress bar, unless that shall be quiet."""
    if not output.quiet:
        stderr.print(text)


class PipedConsole(Console):
    """A console that leaves a closed pipe to `hwsearch.cli.main`, where rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Called where whoever read the output has gone."""
        raise BrokenPipeError


#: Progress and logs go to standard error, so that standard output holds the result alone.
stderr = Console(stderr=True)
stdout = PipedConsole()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; numbers to the right. Cells may be groups of rich's.

    Where the terminal is too narrow for its words, rows are written one below the other.
    """
    rows = [list(row) for row in rows]
    console = PipedConsole(width=output_width())
    if _words_width(columns, rows) > console.width:
        _print_records(console, title, columns, rows)
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    console.print(table)


def _cell(cell: object) -> Group | Text:
    return cell if isinstance(cell, Group) else Text(str(cell))


def _words_width(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """Columns of a terminal that a table needs if no word is broken."""
    cells = [[column, *(row[index] for row in rows)] for index, column in enumerate(columns)]
    words = [
        [len(word) for cell in column if not isinstance(cell, Group) for word in str(cell).split()]
        for column in cells
    ]
    return sum(max(lengths, default=1) + 3 for lengths in words) + 1


def _print_records(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Rows one below the other, a line a cell."""
    console.print(Text(title, style="bold"))
    for row in rows:
        console.print()
        for column, cell in zip(columns, row, strict=True):
            if isinstance(cell, Group):
                console.print(Text(f"{column}:"), cell)
            else:
                console.print(Text(f"{column}: {cell}"))


def output_width() -> int:
    """Columns of standard output; a pipe has no width, so tables may be as wide as they are."""
    return stdout.width if sys.stdout.isatty() else PIPE_WIDTH


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error, silent where that is no terminal.

    Meanwhile it shows what work tells of itself by `hwsearch.progress`, each piece while it lasts.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Done(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=output.quiet or not stderr.is_terminal,
    )

    @contextmanager
    def show(description: str, total: float) -> Iterator[Callable[[float], None]]:
        task = bar.add_task(description, total=total)
        try:
            yield lambda done: bar.advance(task, done)
        finally:
            bar.remove_task(task)

    with bar, showing(show):
        yield bar


class _Done(MofNCompleteColumn):
    """So many of how many; a share where numbers are too long to be read."""

    def render(self, task: Task) -> Text:
        """What is shown for one task."""
        if (task.total or 0) < 10_000:
            return super().render(task)
        return Text(f"{task.percentage:.0f} %")


def shares(text: str | None) -> tuple[float, ...]:
    """Shares of a comma-separated list; none for no text.

    >>> shares("1.0,0.5"), shares(None)
    ((1.0, 0.5), ())

    Raises:
        InputError: one is no number above 0 and at most 1.
    """
    from hwsearch.errors import InputError

    try:
        found = tuple(float(part) for part in (text or "").split(",") if part)
    except ValueError:
        found = (0.0,)
    if not all(0.0 < share <= 1.0 for share in found):
        raise InputError(f"shares must be above 0 and at most 1, comma separated; got {text!r}")
    return found


def percent(share: float) -> str:
    """A share in per cent with one decimal.

    >>> percent(0.875)
    '87.5 %'
    """
    return f"{100 * share:.1f} %"


def megabytes(size_bytes: int) -> str:
    """Bytes as decimal megabytes.

    >>> megabytes(7_340_000)
    '7.3 MB'
    """
    return f"{size_bytes / 1e6:.1f} MB"


def _is_number(cell: object) -> bool:
    text = str(cell).split(" ")[0].replace("%", "")
    try:
        float(text)
    except ValueError:
        return cell in ("", "-")
    return True


def quiet_optuna() -> None:
    """Leave the terminal to the progress bar: Optuna would write a line a trial.

    What a trial raised, such as Ctrl-C, ends the command and is told there; Optuna would add its traceback.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna.study._optimize").addFilter(_is_told_by_optuna_alone)


def _is_told_by_optuna_alone(record: logging.LogRecord) -> bool:
    """Whether a line of Optuna's is not about an exception that is raised on."""
    return record.exc_info is None and not record.getMessage().endswith("failed with value None.")
