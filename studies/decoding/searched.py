"""Searched plans against the best uniform plan under any decoding, both as measured.

    python studies/decoding/searched.py --tables FOLDER [--trials 40] [--limit 500] [-o FOLDER]

FOLDER holds this machine, timed with pruned sizes: `hwsearch profile --device this-machine --model
gsm-mini --kept-channels 0.75,0.5 --kept-heads 0.8,0.6 --out FOLDER`.
Each of some targets, shares of the fastest uniform plan's time, is searched with and without pruned
sizes. The winners, every uniform plan in w8a8 by a commit policy, and the uncompressed model are exported,
timed side by side on calibration questions, and scored on the same test problems. Prints machine and
instruction set; writes `searched.csv` where a folder is given.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InfeasibleTargetError
from hwsearch.jobs.finishing import Finisher
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.devices.environment import this_machine
from hwsearch.latency.timing.answers import AnswerTimes
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study import Goal, Objective, SearchSpace, prepare
from hwsearch.study.preparation import check_feasible, default_workload
from hwsearch.study.run import run_study
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.evaluation import Evaluation
from hwsearch.tasks.statistics import compare

#: Targets as shares of the predicted time of the fastest uniform plan in w8a8 with threshold .9.
SHARES = (1.0, 0.85)


def main() -> None:
    """Search, export, time, score."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(this_machine())
    denoiser = load_denoiser("gsm-mini")
    device = load_device(options.tables / "this-machine")
    plain = SearchSpace.of(denoiser, device)
    heads, channels = denoiser.geometry.heads_of, denoiser.geometry.channels_of
    sizes = {
        "kept_channels": (None, channels(0.75), channels(0.5)),
        "kept_heads": (None, heads(0.8), heads(0.6)),
    }
    pruned = plain.model_copy(update=sizes)
    goal, asked = Goal(target_ratio=1.0), TaskChoice().calibration_questions()
    workload = default_workload(denoiser)
    objectives = {
        name: prepare(denoiser, space, device, workload, goal, asked)
        for name, space in (("formats", plain), ("formats and sizes", pruned))
    }
    objective = objectives["formats"]
    plans: dict[str, CompressionPlan] = {"uncompressed": CompressionPlan.uniform(6)}
    for decoding in plain.decodings:
        if decoding is not None and decoding.commit is not None:
            plans[f"w8a8, {decoding.words}"] = uniform(decoding)
    careful = min(
        objective.latency(plan).generation_ms
        for name, plan in plans.items()
        if "threshold 0.9" in name
    )
    owners = dict.fromkeys(plans, objective)
    with tempfile.TemporaryDirectory() as folder:
        for kind, owner in objectives.items():
            for share in SHARES:
                name = f"searched, {kind}, {share:g}"
                found = searched(owner, share * careful, options.trials, Path(folder) / name)
                if found is not None:
                    plans[name], owners[name] = found, owner
        measured, scores = contest(plans, owners, options.limit, Path(folder))
    table = pd.DataFrame(row(name, plans, owners, measured, scores) for name in plans)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.out / "searched.csv", index=False, float_format="%.4f")


def uniform(decoding: Decoding) -> CompressionPlan:
    """All of gsm-mini in w8a8 by one decoding."""
    fast = CompressionPlan.uniform(6, "w8a8", "w8a8", head="w8a8")
    return fast.model_copy(update={"decoding": decoding})


def searched(
    objective: Objective, target_ms: float, trials: int, path: Path
) -> CompressionPlan | None:
    """The best plan that a search finds within a target; None where no plan meets it."""
    aimed = objective.with_target_ms(target_ms)
    try:
        check_feasible(aimed)
    except InfeasibleTargetError as error:
        print(f"{path.name}: {error}")
        return None
    study = run_study(aimed, trials=trials, name="s", storage=f"{path}.db")
    print(f"{path.name}: {len(study.frame())} trials, loss {study.feasible()['loss'].iloc[0]:z.5f}")
    return study.best_plan


def contest(
    plans: dict[str, CompressionPlan], owners: dict[str, Objective], limit: int, folder: Path
) -> tuple[AnswerTimes, dict[str, Evaluation]]:
    """All plans exported, timed side by side, and scored on the same problems."""
    finishers = {id(owner): Finisher(owner, threads=1) for owner in owners.values()}
    bundles = {
        name: finishers[id(owners[name])].export(plan, folder / f"bundle{index}", questions=0)
        for index, (name, plan) in enumerate(plans.items())
    }
    finisher = next(iter(finishers.values()))
    measured = finisher.measure(bundles)
    return measured, {name: finisher.score(bundle, limit) for name, bundle in bundles.items()}


def row(
    name: str,
    plans: dict[str, CompressionPlan],
    owners: dict[str, Objective],
    measured: AnswerTimes,
    scores: dict[str, Evaluation],
) -> dict[str, Any]:
    """A plan as measured and scored, beside the uncompressed model."""
    found, whole = scores[name], scores["uncompressed"]
    versus = compare(found.score.correct, whole.score.correct)
    plan, latency = plans[name], owners[name].latency(plans[name])
    return {
        "plan": name,
        "decoding": "makers" if plan.decoding is None else plan.decoding.words,
        "predicted_ms": latency.generation_ms,
        "ms": measured.generation_ms(name),
        "times faster": measured.generation_ms("uncompressed") / measured.generation_ms(name),
        "passes": measured.passes[name].total,
        "accuracy": found.accuracy,
        "low": found.interval.low,
        "high": found.interval.high,
        "difference": versus.difference,
        "difference low": versus.interval.low,
        "difference high": versus.interval.high,
        "heads kept": sum(layer.kept_heads or 5 for layer in plan.layers) / 30,
        "channels kept": sum(layer.kept_channels or 896 for layer in plan.layers) / (6 * 896),
    }


if __name__ == "__main__":
    main()
