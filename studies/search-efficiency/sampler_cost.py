"""Time to propose one plan against the size of the study.

    python studies/search-efficiency/sampler_cost.py [--json]

Finished trials are random plans of a random additive problem, in memory. `cold_ms` is the CPU time
of the first proposal of a sampler that has just been started, `warm_ms` the mean over the next 32,
whatever is tuned anew on the way, optuna's own work included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import optuna
from optuna.distributions import IntDistribution

from hwsearch.study.samplers.additive import AdditiveSampler

CASES = ((6, 4, 100), (32, 12, 100), (32, 12, 1000), (80, 12, 1000), (80, 12, 10_000))


def filled_study(groups: int, options: int, trials: int) -> optuna.Study:
    """A study of (loss, cost) with random finished trials, and a sampler that knows the costs."""
    rng = np.random.default_rng(0)
    space = {f"group{i:02d}": IntDistribution(0, options - 1) for i in range(groups)}
    size = rng.lognormal(size=groups)[:, None]
    loss = size * np.linspace(0, 1, options) ** 3
    cost = size * np.linspace(1, 0.4, options)
    table = {n: dict(enumerate(map(float, c))) for n, c in zip(space, cost, strict=True)}
    sampler = AdditiveSampler(table, seed=0, search_space=space)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    plans = rng.integers(options, size=(trials, groups))
    each = np.arange(groups)
    study.add_trials(
        optuna.create_trial(
            params=dict(zip(space, map(int, plan), strict=True)),
            distributions=space,
            values=[float(loss[each, plan].sum()), float(cost[each, plan].sum())],
        )
        for plan in plans
    )
    return study


def cpu_ms(action: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    start = time.process_time()
    action()
    return 1e3 * (time.process_time() - start)


def measure(groups: int, options: int, trials: int, repeats: int = 32) -> dict[str, float]:
    """Cold and warm proposal times of one case."""
    study = filled_study(groups, options, trials)
    space = {f"group{i:02d}": IntDistribution(0, options - 1) for i in range(groups)}

    def propose() -> None:
        trial = study.get_trials(deepcopy=False)[-1]
        study.sampler.sample_relative(study, trial, space)

    cold = cpu_ms(propose)
    warm = []
    for _ in range(repeats):
        asked: list[optuna.Trial] = []
        warm.append(cpu_ms(lambda asked=asked: asked.append(study.ask(space))))
        study.tell(asked[0], [1.0, float(sum(asked[0].params.values()))])
    return {
        "groups": groups,
        "options": options,
        "trials": trials,
        "cold_ms": round(cold, 1),
        "warm_ms": round(float(np.mean(warm)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    results = [measure(*case) for case in CASES]
    if args.json:
        print(json.dumps(results, indent=2))
        return
    print("groups options trials  cold_ms  warm_ms")
    for r in results:
        print(f"{r['groups']:6} {r['options']:7} {r['trials']:6} {r['cold_ms']:8} {r['warm_ms']:8}")


if __name__ == "__main__":
    main()
