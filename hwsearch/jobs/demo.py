"""The whole job on the bundled model and this machine's processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.jobs.demo_target import DemoTarget, Reach, choose_target
from hwsearch.jobs.exporting import Contestant, Finisher, contest
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import profile_machine
from hwsearch.jobs.progress import Tracked, silent, untracked
from hwsearch.latency.devices.device import Device, load_device
from hwsearch.study import Goal, Objective, check_feasible, prepare
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.preparation import calibration_questions, default_workload
from hwsearch.study.records.study import Study
from hwsearch.study.run import run_study
from hwsearch.tasks.statistics import Comparison, compare

#: Name of the device that the demo times.
DEVICE = "this-machine"

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
    limit: int = 200
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo found.

    Attributes:
        target: the target as a share of the uncompressed model's time, and why.
        reach: what was known of this machine before the search.
        trials: finished trials, those included that were searched on for after a miss.
        contestants: ``baseline``, ``best_uniform`` and ``winner``.
        comparison: winner against best uniform plan, on the same problems.
    """

    target: DemoTarget
    reach: Reach
    trials: int
    contestants: dict[str, Contestant]
    comparison: Comparison

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
        named = {name: found.document() for name, found in self.contestants.items()}
        return {
            "target_ms": self.target_ms,
            "target_ratio": self.target.ratio,
            "target_reason": self.target.reason,
            "fastest_uniform_ratio": self.reach.fastest_ratio,
            "target_met": self.target_met,
            "trials": self.trials,
            **named,
            "winner_against_best_uniform": {
                "accuracy_difference": self.comparison.difference,
                "interval": list(self.comparison.interval),
                "p_value": self.comparison.p_value,
            },
            "bundle": str(self.contestants["winner"].bundle.path),
        }


def run_demo(
    out: Path,
    options: DemoOptions | None = None,
    *,
    tracked: Tracked = untracked,
    on_trial: Callable[[int], None] | None = None,
    say: Callable[[str], None] = silent,
) -> Demo:
    """Time this machine, choose a target, search, export, measure and score.

    What `out` already holds (the timed machine, finished trials) is used again.

    Args:
        out: folder of everything that the demo writes.
        options: how much to do.
        tracked: shows progress.
        on_trial: called with the number of finished trials after each.
        say: told the target and its reason before the search.

    Raises:
        InfeasibleTargetError: the options ask for a target, and no plan is predicted to meet it.
    """
    options = options or DemoOptions()
    denoiser = load_denoiser(options.model)
    device = machine(denoiser, out / "latency_tables", tracked)
    space = SearchSpace.of(denoiser, device)
    workload, questions = default_workload(denoiser), calibration_questions()
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

    finisher = Finisher(objective, device.info.threads, tracked)
    contestants = contest(finisher, study, target.ratio, out, options.limit, again)
    winner, uniform = contestants["winner"].evaluation, contestants["best_uniform"].evaluation
    assert winner is not None and uniform is not None, "contest scores everyone"
    comparison = compare(winner.score.correct, uniform.score.correct)
    return Demo(target, reach, len(study.frame()), contestants, comparison)


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
        storage=str(out / "demo.db"),
        seed=options.seed,
        on_trial=on_trial,
    )


def machine(denoiser: Denoiser, tables: Path, tracked: Tracked) -> Device:
    """This machine as a device, timed now unless it was before."""
    folder = tables / DEVICE
    if (folder / "device.toml").is_file():
        return load_device(folder)
    return profile_machine(denoiser, DEVICE, tables, effort=EFFORT, tracked=tracked)
