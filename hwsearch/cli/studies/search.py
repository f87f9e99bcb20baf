"""`hwsearch search`: the plan of least loss within a target of latency or energy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.completion import STUDY
from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    count_option,
    decoding_option,
    device_option,
    formats_option,
    json_option,
    kept_channels_option,
    kept_heads_option,
    model_option,
    model_options,
    refuse_idle,
    storage_option,
    target_joules_option,
    target_ms_option,
    target_ratio_option,
    task_options,
    trials_option,
)
from hwsearch.cli.output import note, print_json
from hwsearch.cli.printing import percent, print_table, print_text, progress_bar, quiet_optuna
from hwsearch.cli.studies.front import finite, front_rows, front_title, noise_line
from hwsearch.errors import HwsearchError, redacted

if TYPE_CHECKING:
    from hwsearch.study import Study
    from hwsearch.study.finalists import Finalist, Verdict
    from hwsearch.study.settings import StudySpec


@click.command(name="search", cls=Verb)
@click.argument(
    "study_file", required=False, type=click.Path(path_type=Path), metavar="[STUDY.toml]"
)
@model_option
@device_option()
@target_ms_option
@target_ratio_option
@target_joules_option
@click.option("--max-bytes", type=int, help="Most bytes of weights.")
@click.option("--max-joules", type=float, help="Most joules beside a target of time.")
@click.option(
    "--objective",
    type=click.Choice(["loss", "front", "energy", "energy-front"]),
    help="Least loss within the time (loss) or energy; or the front of loss and either.",
)
@trials_option()
@click.option("--sampler", help="additive, tpe, gp, nsga2, cmaes or random.")
@click.option("--loss", help="kl, nll, digits or agreement; see hwsearch proxies.")
@click.option("--name", type=STUDY, help="Name of the study; one that exists is continued.")
@formats_option
@click.option(
    "--linear-groups",
    help="Linears of a layer that take one format together: attention or qkv,out; mlp or gate_up,down.",
)
@click.option(
    "--rounding",
    type=click.Choice(["nearest", "calibrated"]),
    help="How weights are rounded: each to the nearest, or each linear by what it sees.",
)
@click.option("--thresholds", help="Sink thresholds to offer, comma separated.")
@click.option(
    "--groups",
    type=click.Choice(["tied", "thirds", "free", "refine"]),
    help="Layers treated alike: all, a third each, none; or from all to none, step by step.",
)
@kept_heads_option
@kept_channels_option
@click.option("--rules", help="Rules of which cached positions stay, comma separated.")
@click.option("--early-scales", help="Factors of all kept shares early in a generation.")
@click.option("--late-scales", help="Factors of all kept shares late in a generation.")
@click.option("--boundaries", help="Unwritten shares of the generation at which early may end.")
@decoding_option
@click.option("--refine", type=STUDY, help="Finished study with coarser groups to go on from.")
@click.option(
    "--pruner",
    type=click.Choice(["none", "wilcoxon"]),
    help="Stop trials that are significantly worse, state by state.",
)
@click.option(
    "--fidelity", type=float, help="Share of the loss's states to judge a trial on first."
)
@click.option("--finalists", type=int, help="Best plans to score by exact match in the end.")
@count_option("--problems", None, "Held-out problems to ask each finalist.")
@click.option("--heartbeat-s", type=int, help="Seconds between signs of life of a worker.")
@click.option(
    "--sensitivities/--no-sensitivities",
    default=None,
    help="Estimate what each format costs in each layer first (if left), or not.",
)
@click.option("--seed", type=int, help="Seed of all chance.")
@task_options()
@model_options()
@storage_option
@click.option(
    "--dry-run", is_flag=True, help="Say what would be done and what it would take, and stop."
)
@json_option
def command(study_file: Path | None, as_json: bool, dry_run: bool, **flags: Any) -> None:
    """Search the plan of least loss within a target of latency or energy.

    What to search comes from STUDY.toml, or from flags, or from both; flags win.

    Joules are the power in device.toml times predicted time. A device (or a power mode, which is a
    device here) has one power for all plans, so on one device the plans of least energy are those
    of least time, and a target of joules is a target of milliseconds told otherwise.
    """
    from hwsearch.study.settings import StudySpec

    spec = StudySpec.resolve(study_file, flags)
    refuse_idle_settings(spec)
    if dry_run:
        print_forecast(spec, as_json)
        return
    from hwsearch.study.searching import run_spec

    quiet_optuna()
    with progress_bar() as bar:
        task = bar.add_task("trials", total=spec.trials)
        asked = bar.add_task("finalists", total=spec.finalists * spec.problems, visible=False)
        study = run_spec(
            spec,
            on_trial=lambda done: bar.update(task, completed=done),
            on_problem=lambda count: bar.update(asked, advance=count, visible=True),
        )
    _ = study.best_plan  # raises where no finished trial meets the target
    if as_json:
        print_json(document(study))
        return
    columns, rows = front_rows(study)
    print_table(front_title(study), columns, rows)
    print_text(noise_line(study.noise))
    print_text(against_uniform(study))
    if study.stopped:
        print_text(
            f"{study.stopped} of its {study.stopped + len(study.frame())} trials stopped early"
        )
    if study.failures:
        last = max(study.failures)
        note(
            f"{len(study.failures)} trials failed and count as tried; the last, trial {last}: "
            f"{study.failures[last]}",
        )
    if study.finalists is not None:
        print_finalists(study)


def refuse_idle_settings(spec: StudySpec) -> None:
    """Refuse flags that would be passed over; a file may say what is for another day. Raises `InputError`."""
    if spec.finalists == 0:
        refuse_idle(["problems"], "without --finalists, who are asked them")
    if spec.storage is None or "://" not in spec.storage or spec.storage.startswith("sqlite"):
        refuse_idle(
            ["heartbeat_s"], "with an SQLite file, where the system tells which workers live"
        )
    if spec.sampler != "additive":
        refuse_idle(["sensitivities"], f"with the sampler {spec.sampler}, which asks for none")
    if spec.space.thresholds is not None and set(spec.space.thresholds) == {1.0}:
        refuse_idle(
            ["rules", "early_scales", "late_scales", "boundaries"],
            "with thresholds of 1 alone, which drop no cached position",
        )
    if spec.space.early_scales is None and spec.space.late_scales is None:
        refuse_idle(["boundaries"], "without --early-scales or --late-scales, which change there")


def print_forecast(spec: StudySpec, as_json: bool) -> None:
    """A study and what a search of it would take, as comments below the study, which stays a file."""
    from hwsearch.study.preparation.effort import forecast_spec

    toml = redacted(spec.to_toml())
    if not as_json:
        click.echo(toml, nl=False)
    try:
        lines = list(forecast_spec(spec).lines())
    except HwsearchError as error:
        lines = [f"it would not begin: {error}"]
    lines = [redacted(line) for line in lines]
    if as_json:
        print_json({"study": toml, "forecast": lines})
    else:
        click.echo("".join(f"# {line}\n" for line in lines), nl=False)


def print_finalists(study: Study) -> None:
    """The finalists' table, and who wins."""
    from hwsearch.study.finalists import P_VALUE, Verdict

    kept = study.finalists
    assert kept is not None, "there were finalists"
    verdict = Verdict.of(kept)
    rows: list[tuple[object, ...]] = []
    for finalist in verdict.finalists:
        behind = verdict.behind(finalist)
        rows.append(
            (
                finalist.number,
                f"{finalist.loss:z.5f}",
                f"{finalist.generation_ms:.2f}",
                f"{percent(finalist.accuracy)} ({_points(finalist.interval, '')})",
                f"{100 * behind.difference:z.1f} ({_points(behind.interval, '+')})",
                f"{behind.p_value:.3f}",
                _standing(verdict, finalist),
            )
        )
    title = f"finalists of {study.name} on the same {kept['problems']} {kept['split']} problems"
    columns = ["trial", "loss (nats)", "generation ms", "solved (95 %)", "points behind (95 %)"]
    print_table(title, [*columns, "p", "standing"], rows)
    print_text(
        f"trial {verdict.winner.number} wins: the least loss of those that the problems do not tell "
        f"from the most accurate (McNemar, p below {P_VALUE})"
    )


def _standing(verdict: Verdict, finalist: Finalist) -> str:
    if finalist == verdict.winner:
        return "winner"
    return "tied" if verdict.is_tied(finalist) else "worse"


def _points(interval: tuple[float, float], sign: str) -> str:
    low, high = (f"{100 * end:{sign}.1f}" for end in interval)
    return f"{low} to {high}"


def document(study: Study) -> dict[str, Any]:
    """What the search found, as plain data."""
    best, uniform = study.feasible().iloc[0], study.feasible(uniform=True)
    return {
        "study": study.name,
        "objective": study.objective.value,
        "target_ms": study.target_ms,
        "target_joules": None if study.energy is None else study.energy.of(study.target_ms),
        "max_joules": study.record.max_joules,
        "trials": len(study.frame()),
        "stopped_early": study.stopped,
        "failed": [{"number": n, "reason": reason} for n, reason in study.failures.items()],
        "finalists": study.finalists,
        "noise": study.noise,
        "tied_with_uniform": tied_with_uniform(study),
        "best": {**_row(best), "plan": best["plan"].model_dump(mode="json")},
        "best_uniform": None if uniform.empty else _row(uniform.iloc[0]),
    }


def against_uniform(study: Study) -> str:
    """One line: the best plan beside the best uniform plan within the same target."""
    best, uniform = study.feasible().iloc[0], study.feasible(uniform=True)
    target = study.unit.show(study.target_ms)
    within = f"within {target}: trial {best['number']} loses {best['loss']:z.5f} nats"
    if uniform.empty:
        return f"{within}; no uniform plan meets the target"
    row = uniform.iloc[0]
    tied = "; the two are tied" if tied_with_uniform(study) else ""
    return (
        f"{within}, the best of {len(uniform)} uniform plans (trial {row['number']}) "
        f"{row['loss']:z.5f}{tied}"
    )


def tied_with_uniform(study: Study) -> bool | None:
    """Whether the noise of the loss is all that lies between the best plan and the best uniform one.

    None where the noise was not measured, or no uniform plan meets the target.
    """
    best, uniform = study.feasible().iloc[0], study.feasible(uniform=True)
    if study.noise is None or uniform.empty:
        return None
    row = uniform.iloc[0]
    return bool(row["number"] != best["number"] and row["loss"] - best["loss"] <= study.noise)


def _row(row: Any) -> dict[str, Any]:
    return {
        "number": int(row["number"]),
        "loss": float(row["loss"]),
        "generation_ms": float(row["generation_ms"]),
        "generation_joules": finite(row["generation_joules"]),
        "size_bytes": int(row["size_bytes"]),
    }
