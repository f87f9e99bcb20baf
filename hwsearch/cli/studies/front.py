"""`hwsearch front`: the Pareto front of a study."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.completion import STUDY
from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    json_option,
    picture_option,
    refuse_idle,
    storage_option,
    target_joules_option,
    target_ms_option,
)
from hwsearch.cli.output import note, print_json
from hwsearch.cli.printing import megabytes, percent, print_table, print_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwsearch.plan import CachePolicy, CompressionPlan
    from hwsearch.study import Study
    from hwsearch.study.goal import Unit
    from hwsearch.study.records.rows import FrontRow
    from hwsearch.study.retargeting import Resolved


@click.command(name="front", cls=Verb)
@click.argument("study_name", metavar="STUDY", type=STUDY)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How it is printed.",
)
@picture_option
@target_ms_option
@target_joules_option
@storage_option
@json_option
def command(
    study_name: str,
    form: str,
    picture: Path | None,
    target_ms: float | None,
    target_joules: float | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Print the Pareto front of STUDY: a name, or the path of its SQLite file.

    With --target-ms or --target-joules, print the best plan for another target. It comes from the
    finished trials and the model fitted to them; nothing is evaluated, and neither model nor device
    is loaded.
    """
    from hwsearch.study import load_study

    for_target = target_ms is not None or target_joules is not None
    if for_target:
        refuse_idle(["picture"], "with a target, which is answered by one plan")
    if form == "csv" and (for_target or as_json):
        other = "--json" if as_json else "a target, which is answered by one plan"
        refuse_idle(["form"], f"with {other}")
    study = load_study(study_name, storage)
    if for_target:
        answer_target(study, target_ms, target_joules, as_json or form == "json")
        return
    if picture is not None:
        from hwsearch.report import draw_front

        draw_front(study, picture)
    if as_json or form == "json":
        print_json([row_document(row) for row in study.front_rows()])
    elif form == "csv":
        front = study.front()
        front["plan"] = [plan.model_dump_json() for plan in front["plan"]]
        front["tied"] = [" ".join(map(str, tied)) for tied in front["tied"]]
        front.to_csv(sys.stdout, index=False)
    else:
        columns, rows = front_rows(study)
        print_table(front_title(study), columns, rows)
        print_text(noise_line(study.noise))


def row_document(row: FrontRow) -> dict[str, Any]:
    """A row of the front as plain data; what is no number is None."""
    return {
        **{k: finite(v) if isinstance(v, float) else v for k, v in row.values().items()},
        "plan": row.plan.model_dump(mode="json"),
    }


def answer_target(
    study: Study, target_ms: float | None, target_joules: float | None, as_json: bool
) -> None:
    """Print the best plan known for another target."""
    from hwsearch.study import resolve

    found = resolve(study, target_ms, target_joules=target_joules)
    if as_json:
        document = {**asdict(found), "loss_is": found.loss_is, "study": study.name}
        document["target_joules"] = target_joules
        document["noise"] = study.noise
        document["tied"] = tied_trials(study, found)
        print_json({**document, "plan": found.plan.model_dump(mode="json")})
        return
    within = f"{found.target_ms:.2f} ms" if target_joules is None else f"{target_joules:g} J"
    if found.trial is None:
        note(
            f"no trial of {study.name} tried the best plan for {within}; its loss is "
            f"predicted by the additive model from {len(study.rows())} trials, not evaluated: "
            f"hwsearch search --name {study.name} {target_flag(study, found.target_ms)} "
            f"evaluates it"
        )
    loss = f"{found.loss:z.5f}" + ("" if found.trial is not None else f" ± {found.spread:.5f}")
    uniform = "-" if found.uniform_loss is None else f"{found.uniform_loss:z.5f}"
    row = {
        "trial": "-" if found.trial is None else found.trial,
        f"loss ({found.loss_is}, nats)": loss,
        **cost_cells(study.energy, found.generation_ms),
        "size": megabytes(found.size_bytes),
        "best uniform loss": uniform,
    }
    print_table(f"best plan of {study.name} within {within}", list(row), [tuple(row.values())])
    tied = tied_trials(study, found)
    if tied:
        print_text(f"tied within the noise of the loss, fastest first: trials {_listed(tied)}")
    print_table("its layers", *plan_rows(found.plan))
    if found.plan.decoding is not None:
        print_text(f"decoding: {found.plan.decoding.words}")
    if found.plan.cache != type(found.plan.cache)():
        print_text(cache_line(found.plan.cache))


def plan_rows(plan: CompressionPlan) -> tuple[list[str], list[tuple[object, ...]]]:
    """A plan as a table's columns and rows."""
    from hwsearch.plan import format_words

    rows: list[tuple[object, ...]] = [
        (
            index,
            layer.sink_threshold,
            format_words(layer.formats, "attention"),
            layer.kept_heads or "all",
            format_words(layer.formats, "mlp"),
            layer.kept_channels or "all",
        )
        for index, layer in enumerate(plan.layers)
    ]
    rows.append(("head", "", "", "", plan.head.value, ""))
    return ["layer", "sink threshold", "attention", "heads", "mlp", "channels"], rows


def cache_line(cache: CachePolicy) -> str:
    """By which rule positions stay, and how many of them when.

    >>> from hwsearch.plan import CachePolicy
    >>> cache_line(CachePolicy(late_scale=0.5))
    'cached positions by keep-stable; shares x 1 while more than 50.0 % is unwritten, then x 0.5'
    """
    line = f"cached positions by {cache.rule.value}"
    if cache.early_scale == cache.late_scale == 1.0:
        return line
    return (
        f"{line}; shares x {cache.early_scale:g} while more than {percent(cache.boundary)} is "
        f"unwritten, then x {cache.late_scale:g}"
    )


def target_flag(study: Study, target_ms: float) -> str:
    """The flag of `hwsearch search` that sets a target of the study's own kind."""
    if study.unit.symbol == "ms":
        return f"--target-ms {target_ms:g}"
    return f"--target-joules {study.unit.of(target_ms):g}"


def front_title(study: Study) -> str:
    """What a table of a study's front is called."""
    return f"front of {study.name} (target {study.unit.show(study.target_ms)})"


def cost_cells(energy: Unit | None, generation_ms: float) -> dict[str, str]:
    """What a generation takes, in milliseconds and, where the device's power is known, joules."""
    cells = {"generation ms": f"{generation_ms:.2f}"}
    return cells if energy is None else {**cells, "J": energy.number(generation_ms)}


def noise_line(noise: float | None) -> str:
    """What the column of ties means.

    >>> noise_line(0.0009)
    'losses within 0.0009 nats are tied: rounding alone moves them as far'
    """
    if noise is None:
        return "the noise of the loss was not measured: search on to have ties told"
    return f"losses within {noise:.2g} nats are tied: rounding alone moves them as far"


def tie_cell(number: int, tied: Sequence[int], choice: int | None) -> str:
    """Which plans of the front are as good, and which of them is the one to take.

    >>> tie_cell(7, [3, 9], 3)
    '3 is faster'
    >>> tie_cell(3, [7, 9], 3)
    'as good as 7, 9'
    >>> tie_cell(4, [], None)
    '-'
    """
    if not tied:
        return "-"
    return f"as good as {_listed(tied)}" if choice == number else f"{choice} is faster"


def tied_trials(study: Study, found: Resolved) -> list[int]:
    """Trials within a resolved target whose losses cannot be told from the answer's, fastest first."""
    noise, max_bytes = study.noise, study.max_bytes
    if noise is None or found.trial is None:
        return []
    near = (
        row
        for row in study.rows()
        if abs(row.loss - found.loss) <= noise
        and row.generation_ms <= found.target_ms
        and row.size_bytes <= max_bytes
        and row.number != found.trial
    )
    return [row.number for row in sorted(near, key=lambda row: row.generation_ms)]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def finite(value: float) -> float | None:
    """A number as JSON has it: None where there is none."""
    return None if math.isnan(value) else float(value)


def front_rows(study: Study) -> tuple[list[str], list[tuple[object, ...]]]:
    """The front as a table's columns and rows."""
    energy = study.energy
    rows: list[tuple[object, ...]] = [
        (
            row.number,
            f"{row.loss:z.5f}",
            *cost_cells(energy, row.generation_ms).values(),
            f"{row.passes:.2f}",
            decoding_words(row.plan),
            megabytes(row.size_bytes),
            "yes" if row.feasible else "no",
            "yes" if row.uniform else "no",
            "-" if math.isnan(row.uniform_loss) else f"{row.uniform_loss:z.5f}",
            tie_cell(row.number, row.tied, row.tied_choice),
        )
        for row in study.front_rows()
    ]
    columns = ["trial", "loss (nats)", *cost_cells(energy, 0.0)]
    columns += ["passes", "decoding"]
    return [*columns, "size", "meets target", "uniform", "best uniform in that time", "tied"], rows


def decoding_words(plan: CompressionPlan) -> str:
    """How a plan decodes, in a few words."""
    return "makers'" if plan.decoding is None else plan.decoding.words
