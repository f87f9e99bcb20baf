"""Help as people read it: options grouped by what they are about, and examples that can be pasted."""

from __future__ import annotations

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


class Verb(click.Command):
    """A verb: its help has options in groups, where there are many, and ends in examples."""

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
