"""The whole job on the bundled model and this machine's processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading import load_denoiser
from hwsearch.jobs.finish import Contestant, Finisher, contest
from hwsearch.jobs.progress import Tracked, untracked
from hwsearch.jobs.timing import profile_machine
from hwsearch.latency.device import Device, load_device
from hwsearch.study.preparation import Target, calibration_questions, default_workload, prepare
from hwsearch.study.run import run_study
from hwsearch.study.space import SearchSpace
from hwsearch.study.study import Study
from hwsearch.tasks.statistics import Comparison, compare

#: Name of the device that the demo times.
DEVICE = "this-machine"

#: Trials that follow where the winner is measured above the target, aimed lower by the miss.
AGAIN = 12


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo found.

    Attributes:
        ratio: the target, as a share of the uncompressed model's time.
        trials: finished trials, those included that were searched on for after a miss.
        contestants: ``baseline``, ``best_uniform`` and ``winner``.
        comparison: winner against best uniform plan, on the same problems.
    """

    ratio: float
    trials: int
    contestants: dict[str, Contestant]
    comparison: Comparison

    @property
    def target_ms(self) -> float:
        """The target in milliseconds: the share of the uncompressed model as measured."""
        return self.ratio * self.contestants["baseline"].measured_ms

    @property
    def target_met(self) -> bool:
        """Whether the winner was measured within the target; a busy machine can deny it that."""
        return self.contestants["winner"].measured_ms <= self.target_ms

    def document(self) -> dict[str, Any]:
        """The result as plain data."""
        named = {name: found.document() for name, found in self.contestants.items()}
        return {
            "target_ms": self.target_ms,
            "target_ratio": self.ratio,
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
    *,
    model: str = "gsm-mini",
    ratio: float = 0.5,
    trials: int = 60,
    limit: int = 200,
    seed: int = 0,
    tracked: Tracked = untracked,
    on_trial: Callable[[int], None] | None = None,
) -> Demo:
    """Time this machine, search, export, measure and score.

    What `out` already holds (the timed machine, finished trials) is used again.

    Args:
        out: folder of everything that the demo writes.
        model: the model to compress.
        ratio: latency target as a share of the uncompressed model's.
        trials: finished trials that the study shall have.
        limit: test problems to score each contestant on.
        seed: of the sampler.
        tracked: shows progress.
        on_trial: called with the number of finished trials after each.
    """
    denoiser = load_denoiser(model)
    device = machine(denoiser, out / "latency_tables", tracked)
    questions = calibration_questions()
    workload = default_workload(denoiser)
    space = SearchSpace.of(denoiser, device)
    objective = prepare(denoiser, space, device, workload, Target(ratio=ratio), questions)
    study = run_study(
        objective,
        trials=trials,
        name="demo",
        storage=str(out / "demo.db"),
        seed=seed,
        on_trial=on_trial,
    )
    finisher = Finisher(objective, device.info.threads, tracked)

    def again(target_ms: float) -> Study:
        return run_study(
            replace(objective, target_ms=target_ms),
            trials=len(study.frame()) + AGAIN,
            name="demo",
            storage=str(out / "demo.db"),
            seed=seed,
        )

    contestants = contest(finisher, study, ratio, out, limit, again)
    winner, uniform = contestants["winner"].evaluation, contestants["best_uniform"].evaluation
    assert winner is not None and uniform is not None, "contest scores everyone"
    comparison = compare(winner.score.correct, uniform.score.correct)
    return Demo(ratio, len(study.frame()), contestants, comparison)


def machine(denoiser: Denoiser, tables: Path, tracked: Tracked) -> Device:
    """This machine as a device, timed now unless it was before."""
    folder = tables / DEVICE
    if (folder / "device.toml").is_file():
        return load_device(folder)
    return profile_machine(denoiser, DEVICE, tables, tracked=tracked)
