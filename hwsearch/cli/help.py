"""Help as people read it: options grouped by what they are about, and examples that can be pasted."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import click

from hwsearch.cli.examples import EXAMPLES
from hwsearch.cli.options import MODEL_OPTIONS, TASK_OPTIONS


def _flags(names: Iterable[str]) -> set[str]:
    return {f"--{name.replace('_', '-')}" for name in names}


#: Options that are about one thing.
_OFFERED = (
    "formats linear_groups rounding thresholds groups kept_heads kept_channels rules early_scales "
    "late_scales boundaries decoding"
)
_SEARCHED = (
    "trials sampler loss refine pruner fidelity finalists problems heartbeat_s sensitivities seed"
)
_TARGET = "target_ms target_ratio target_joules max_bytes max_joules objective"

#: Groups of options by title; what is in none comes first, under *Options*.
GROUPS: dict[str, set[str]] = {
    "Target": _flags(_TARGET.split()),
    "What is offered": _flags(_OFFERED.split()),
    "How it is searched": _flags(_SEARCHED.split()),
    "What is asked": _flags(TASK_OPTIONS),
    "How the model is read": _flags(MODEL_OPTIONS),
    "Kits for other machines": {"--kit", "--for", "--import"},
}

#: Fewest options of a verb whose help is in groups.
MANY = 12


#: Columns below which what an option does stands under it, not beside it.
NARROW = 66

#: The least that help is wrapped to.
LEAST = 24


class HelpFormatter(click.HelpFormatter):
    """Click's, for terminals of any width: click's own wraps at 50 columns where there are fewer."""

    def __init__(self, width: int | None = None, max_width: int | None = None) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(
            width=width or max(min(columns, max_width or 80) - 2, LEAST), max_width=max_width
        )

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write names beside what they are; below each other where the terminal is narrow."""
        if self.width >= NARROW:
            below = "\n" + " " * self.current_indent
            wrapped = [(below.join(self._wrapped_name(name)), text) for name, text in rows]
            super().write_dl(wrapped, col_max, col_spacing)
            return
        for name, text in rows:
            indent = " " * self.current_indent
            for line in self._wrapped_name(name):
                self.write(f"{indent}{line}\n")
            with self.indentation(), self.indentation():
                self.write_text(text)

    def _wrapped_name(self, name: str) -> list[str]:
        """An option and what it takes, in lines that end behind a word or a choice."""
        lines = [""]
        for word in name.replace("|", "|\0").replace(" ", " \0").split("\0"):
            if lines[-1] and len(lines[-1] + word.rstrip()) > self.width - self.current_indent:
                lines.append("    ")
            lines[-1] += word
        return [line.rstrip() for line in lines]


class Context(click.Context):
    """Where a command runs; its help fits the terminal."""

    formatter_class = HelpFormatter


class Verb(click.Command):
    """A verb: its help has options in groups, where there are many, and ends in examples."""

    context_class = Context

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        rows: dict[str, list[tuple[str, str]]] = {"Options": [], **{title: [] for title in GROUPS}}
        parameters = self.get_params(ctx)
        for parameter in parameters:
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = _group(parameter) if len(parameters) >= MANY else "Options"
                rows[title].append(record)
        for title, some in rows.items():
            if some:
                with formatter.section(title):
                    formatter.write_dl(some)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, EXAMPLES.get(self.name or "", ()))


def _group(parameter: click.Parameter) -> str:
    """The title under which an option stands."""
    return next(
        (title for title, flags in GROUPS.items() if flags.intersection(parameter.opts)), "Options"
    )


def write_examples(formatter: click.HelpFormatter, examples: Iterable[str]) -> None:
    """Commands, each on a line of its own, however long: a wrapped one could not be pasted."""
    lines = list(examples)
    if lines:
        with formatter.section("Examples"):
            indent = " " * formatter.current_indent
            formatter.write("".join(f"{indent}{line}\n" for line in lines))
