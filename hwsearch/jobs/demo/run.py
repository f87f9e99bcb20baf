"""The whole job on the bundled model and this machine's processor."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError
from hwsearch.jobs.demo.contest import contest
from hwsearch.jobs.demo.target import DemoTarget, Reach, choose_target
from hwsearch.jobs.demo.waterfall import TITLES
from hwsearch.jobs.finishing import Contestant, Finisher
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import profile_machine
from hwsearch.jobs.reporting import Report, write_report
from hwsearch.latency.devices.device import Device, load_device
from hwsearch.progress import silent
from hwsearch.study import Goal, Objective, check_feasible, prepare
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.preparation import default_workload
from hwsearch.study.records.outcome import keep_outcomes
from hwsearch.study.records.record import update_record
from hwsearch.study.records.study import Study
from hwsearch.study.run import run_study
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.statistics import Comparison, compare

#: Name of the device that the demo times.
DEVICE = "this-machine"

#: File of the demo's study, in its folder.
DATABASE = "demo.db"

#: Trials that follow where the winner is measured above the target, aimed lower by the miss.
AGAIN = 8

#: How long the demo times this machine. It measures what it picks once more, so it can do with less
#: than `hwsearch profile`.
EFFORT = Effort(sessions=2, mixed_plans=6)


@dataclass(frozen=True)
class DemoOptions:
    """How much the demo does.

    Attributes:
        model: the model to compress.
        ratio: latency target as a share of the uncompressed model's; None chooses one that this
            machine can reach.
        trials: finished trials that the study shall have.
        limit: test problems to score each contestant on.
        seed: of the sampler.
    """

    model: str = "gsm-mini"
    ratio: float | None = None
    trials: int = 40
    limit: int = 500
    seed: int = 0

    def command(self, out: Path) -> str:
        """The command line that does as much.

        >>> DemoOptions(ratio=0.2).command(Path("demo"))
        'hwsearch demo -o demo --target-ratio 0.2 --trials 40 --limit 500 --seed 0'
        """
        target = [] if self.ratio is None else ["--target-ratio", f"{self.ratio:g}"]
        numbers = ["--trials", str(self.trials), "--limit", str(self.limit)]
        return shlex.join(
            ["hwsearch", "demo", "-o", str(out), *target, *numbers, "--seed", str(self.seed)]
        )


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo found.

    Attributes:
        target: the target as a share of the uncompressed model's time, and why.
        reach: what was known of this machine before the search.
        trials: finished trials, those included that were searched on for after a miss.
        contestants: ``baseline``, ``best_uniform`` and ``winner``, and the levers between.
        comparison: winner against best uniform plan, on the same problems.
        against_baseline: winner against the uncompressed model, likewise.
        report: the study's page; None where the package that draws is not installed.
    """

    target: DemoTarget
    reach: Reach
    trials: int
    contestants: dict[str, Contestant]
    comparison: Comparison
    against_baseline: Comparison
    report: Report | None = None

    @property
    def target_ms(self) -> float:
        """The target in milliseconds: the share of the uncompressed model as measured."""
        return self.target.ratio * self.contestants["baseline"].measured_ms

    @property
    def target_met(self) -> bool:
        """Whether the winner was measured within the target; a busy machine can deny it that."""
        return self.contestants["winner"].measured_ms <= self.target_ms

    def document(self) -> dict[str, Any]:
        """The result as plain data."""
        documents = {name: found.document() for name, found in self.contestants.items()}
        named = {name: documents[name] for name in ("baseline", "best_uniform", "winner")}
        return {
            "target_ms": self.target_ms,
            "target_ratio": self.target.ratio,
            "target_reason": self.target.reason,
            "fastest_uniform_ratio": self.reach.fastest_ratio,
            "target_met": self.target_met,
            "trials": self.trials,
            **named,
            "waterfall": [self._lever(name) for name in self.contestants],
            "winner_against_best_uniform": _compared(self.comparison),
            "winner_against_baseline": _compared(self.against_baseline),
            "bundle": str(self.contestants["winner"].bundle.path),
            "report": None if self.report is None else self.report.document(),
        }

    def faster(self, name: str) -> float:
        """How many times faster a contestant is than the uncompressed model, as measured."""
        return self.contestants["baseline"].measured_ms / self.contestants[name].measured_ms

    def _lever(self, name: str) -> dict[str, Any]:
        found = self.contestants[name].document()
        shown = ("measured_passes", "measured_ms", "tokens_per_second", "accuracy")
        decoding = self.contestants[name].bundle.manifest.decoding.words
        return {
            "name": name,
            "title": TITLES[name],
            "decoding": decoding,
            **{key: found[key] for key in (*shown, "accuracy_interval")},
            "times_faster": self.faster(name),
        }


def _compared(comparison: Comparison) -> dict[str, Any]:
    return {
        "accuracy_difference": comparison.difference,
        "interval": list(comparison.interval),
        "p_value": comparison.p_value,
    }


def run_demo(
    out: Path,
    options: DemoOptions | None = None,
    *,
    on_trial: Callable[[int], None] | None = None,
    say: Callable[[str], None] = silent,
) -> Demo:
    """Time this machine, choose a target, search, export, measure and score.

    What `out` already holds (the timed machine, finished trials) is used again.

    Args:
        out: folder of everything that the demo writes.
        options: how much to do.
        on_trial: called with the number of finished trials after each.
        say: told the target and its reason before the search.

    Raises:
        InfeasibleTargetError: the options ask for a target, and no plan is predicted to meet it.
    """
    options = options or DemoOptions()
    denoiser = load_denoiser(options.model)
    device = machine(denoiser, out / "latency_tables")
    space = SearchSpace.of(denoiser, device)
    workload, questions = default_workload(denoiser), TaskChoice().calibration_questions()
    # the uncompressed plan meets its own time; the target proper is chosen by what is known then
    its_own = Goal(target_ratio=1.0)
    objective = prepare(denoiser, space, device, workload, its_own, questions)
    reach = Reach.of(objective)
    target = choose_target(reach, options.ratio)
    say(f"target: {target.reason}")
    objective = objective.with_target_ms(target.ratio * reach.uncompressed_ms)
    check_feasible(objective)
    study = _search(objective, options, out, options.trials, on_trial)

    def again(target_ms: float) -> Study:
        lower = objective.with_target_ms(target_ms)
        return _search(lower, options, out, len(study.frame()) + AGAIN)

    finisher = Finisher(objective, device.info.threads)
    contestants = contest(finisher, study, target.ratio, out, options.limit, again)
    winner, uniform = contestants["winner"].evaluation, contestants["best_uniform"].evaluation
    assert winner is not None and uniform is not None, "contest scores everyone"
    baseline = contestants["baseline"].evaluation
    assert baseline is not None, "contest scores everyone"
    demo = Demo(
        target,
        reach,
        len(study.frame()),
        contestants,
        compare(winner.score.correct, uniform.score.correct),
        compare(winner.score.correct, baseline.score.correct),
    )
    _keep(demo, study, objective.target_ms, options.command(out))
    return replace(demo, report=_report(out, say))


def _report(out: Path, say: Callable[[str], None]) -> Report | None:
    """The study's page, in the demo's folder."""
    try:
        return write_report(str(out / DATABASE), out / "report.html", overwrite=True)
    except InputError as error:  # all that was measured stands; only the page cannot be drawn
        say(f"no report: {error}")
        return None


def _keep(demo: Demo, study: Study, target_ms: float, command: str) -> None:
    """Write what was measured into the study; its target is again the one asked for."""
    keep_outcomes(
        study.optuna,
        [
            found.outcome(name, TITLES[name], demo.target_ms, command)
            for name, found in demo.contestants.items()
        ],
    )
    update_record(study.optuna, target_ms=target_ms, command=command)


def _search(
    objective: Objective,
    options: DemoOptions,
    out: Path,
    trials: int,
    on_trial: Callable[[int], None] | None = None,
) -> Study:
    return run_study(
        objective,
        trials=trials,
        name="demo",
        storage=str(out / DATABASE),
        seed=options.seed,
        on_trial=on_trial,
    )


def machine(denoiser: Denoiser, tables: Path) -> Device:
    """This machine as a device, timed now unless it was before."""
    folder = tables / DEVICE
    if (folder / "device.toml").is_file():
        return load_device(folder)
    return profile_machine(denoiser, DEVICE, tables, effort=EFFORT)
