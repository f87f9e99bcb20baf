"""What verbs print: tables as wide as the terminal, progress, numbers with their units."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap

import click
from rich.box import SIMPLE_HEAD
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

from hwsearch.cli.output import output
from hwsearch.progress import showing

#: Columns of tables that are written to a pipe, and the least that text is wrapped to.
PIPE_WIDTH, LEAST = 160, 24


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


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; numbers to the right. Cells may be groups of rich's.

    Where the terminal is too narrow for its words, lines between columns are left out; where that does not
    help either, rows are written one below the other.
    """
    rows = [list(row) for row in rows]
    console = PipedConsole(width=output_width())
    sizes = [
        [console.measure(_cell(cell)) for cell in (column, *(row[index] for row in rows))]
        for index, column in enumerate(columns)
    ]
    least = [
        max([size.minimum for size in column] + [_unbroken(row[index]) for row in rows])
        for index, column in enumerate(sizes)
    ]
    most = [max(size.maximum for size in column) for column in sizes]
    room = console.width - sum(least)
    if room < len(columns):
        _print_records(console, title, columns, rows)
        return
    # as text: rich takes what stands in brackets for a style
    table = Table(title=Text(title, style="bold"), title_justify="left")
    gap = 3
    if room < gap * len(columns) + 1:
        gap = 2 if room >= 2 * len(columns) else 1
        table.box, table.show_edge, table.padding = SIMPLE_HEAD, False, (0, gap - 1, 0, 0)
    widths = _shared_out(least, most, console.width - gap * len(columns) - 1)
    for index, (column, width) in enumerate(zip(columns, widths, strict=True)):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", width=width)
    for row in rows:
        table.add_row(*map(_cell, row))
    console.print(table)


def _unbroken(cell: object) -> int:
    """Columns of a number with its unit, between which no line ends; 0 for other cells."""
    text = str(cell)
    return len(text) if _is_number(cell) and len(text.split()) == 2 else 0


def _shared_out(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Widths of columns: none breaks a word, and what room is left goes to whoever needs it most.

    >>> _shared_out([4, 5], [4, 20], 20), _shared_out([4, 5], [4, 6], 20)
    ([4, 16], [4, 6])
    """
    widths = list(least)
    for _ in range(room - sum(least)):
        lacking = [most - width for width, most in zip(widths, most, strict=True)]
        if max(lacking, default=0) <= 0:
            break
        widths[lacking.index(max(lacking))] += 1
    return widths


def _cell(cell: object) -> Group | Text:
    return cell if isinstance(cell, Group) else Text(str(cell))


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
    """Columns of standard output: the terminal's, or ``COLUMNS``.

    A pipe without has no width, so tables may be as wide as they are.
    """
    # a console keeps the COLUMNS that it was made under
    return PipedConsole().width if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH


def print_text(text: str) -> None:
    """A sentence on standard output, wrapped between words where that is a terminal.

    Not for what is to be pasted: a command must stay on its line.
    """
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        text = "\n".join(wrap(text, max(LEAST, output_width()), break_on_hyphens=False))
    click.echo(text)


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
