"""The search itself: min loss subject to latency, as an Optuna study."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.latency.device import Device
from hwsearch.latency.operators import Workload
from hwsearch.search.objective import Objective
from hwsearch.search.preparation import (
    Target,
    calibration_questions,
    choose_proxy,
    default_workload,
    prepare,
)
from hwsearch.search.samplers import make_sampler
from hwsearch.search.space import SearchSpace
from hwsearch.search.study import Study, claim, finished, storage_url
from hwsearch.tasks.proxies import Proxy


def search(
    denoiser: Denoiser,
    space: SearchSpace,
    device: Device,
    *,
    target_ms: float | None = None,
    target_ratio: float | None = None,
    workload: Workload | None = None,
    questions: Sequence[str] | None = None,
    trials: int = 100,
    name: str | None = None,
    storage: str | None = None,
    sampler: str = "additive",
    loss: str | Proxy = "kl",
    seed: int = 0,
    on_trial: Callable[[int], None] | None = None,
) -> Study:
    """The plan of least loss within a latency target, as a study.

    Args:
        denoiser: the uncompressed model.
        space: what may be chosen.
        device: where the plan will run.
        target_ms: most milliseconds of a generation; or else
        target_ratio: the same as a share of the uncompressed model's predicted time.
        workload: what is generated; None takes the task's median prompt and the model's decoding.
        questions: calibration questions; None takes those of gsm-mini.
        trials: finished trials that the study shall have.
        name: the study's name; one that exists is continued. None makes one of model and device.
        storage: Optuna storage URL or SQLite path; None is ``studies/<name>.db``.
        sampler: one of `SAMPLERS`.
        loss: one of `hwsearch.tasks.proxies.PROXIES`, or a proxy of one's own.
        seed: of the sampler.
        on_trial: called with the number of finished trials after each.

    Raises:
        InputError: the target, a name or the space is wrong, or the study searched something else.
        InfeasibleTargetError: no plan meets the target.
    """
    proxy = choose_proxy(loss, denoiser, questions)
    questions = list(questions or calibration_questions())
    objective = prepare(
        denoiser,
        space,
        device,
        workload or default_workload(denoiser),
        Target(target_ms, target_ratio),
        questions,
        proxy,
    )
    return run_study(
        objective,
        trials=trials,
        name=name or f"{Path(denoiser.name).name}-{device.info.name}",
        storage=storage,
        sampler=sampler,
        seed=seed,
        on_trial=on_trial,
    )


def run_study(
    objective: Objective,
    *,
    trials: int,
    name: str,
    storage: str | None = None,
    sampler: str = "additive",
    seed: int = 0,
    on_trial: Callable[[int], None] | None = None,
) -> Study:
    """Try plans until the study has `trials` finished trials; one that exists is continued.

    The uncompressed model and every uniform plan that meets the target are tried first, so the
    answer is never worse than the best of them. Arguments are those of `search`.

    Raises:
        InputError: the study exists and searched something else.
    """
    url = storage_url(name, storage)
    study = optuna.create_study(
        study_name=name,
        storage=url,
        load_if_exists=True,
    )
    # a sampler that starts anew with the old seed would propose its old plans again
    study.sampler = make_sampler(
        sampler, seed + len(study.get_trials(deepcopy=False)), objective.known()
    )
    claim(study, identity(objective), objective.target_ms)
    enqueue(study, objective)
    if url.startswith("sqlite"):
        _recover(study)

    def report(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if on_trial is not None:
            on_trial(len(finished(study)))

    missing = max(0, trials - len(finished(study)))
    study.optimize(objective, n_trials=missing, callbacks=[report])
    return Study(study, objective.space, objective.target_ms)


def enqueue(study: optuna.Study, objective: Objective) -> None:
    """Put the uncompressed plan and the uniform plans that meet the target first."""
    space = objective.space
    uncompressed = objective.predictor.device.uncompressed(space.num_layers)
    plans = [uncompressed, *space.uniform_plans()]
    for index, plan in enumerate(plans):
        meets = objective.latency(plan).generation_ms <= objective.target_ms
        offered = all(
            value in space.parameters()[name] for name, value in space.params(plan).items()
        )
        if offered and (index == 0 or meets):
            study.enqueue_trial(space.params(plan), skip_if_exists=True)


def identity(objective: Objective) -> dict[str, str]:
    """What a study is about, as text: two studies of one name must agree in all of it."""
    workload = objective.predictor.workload
    return {
        "model": objective.denoiser.name,
        "device": objective.predictor.device.info.name,
        "space": objective.space.model_dump_json(),
        "workload": json.dumps({"prompt_length": workload.prompt_length}),
        "decoding": workload.decoding.model_dump_json(),
        "loss": objective.proxy.name,
        "device_folder": str(objective.predictor.device.folder),
    }


def _recover(study: optuna.Study) -> None:
    """Fail trials that a killed run left running, and queue their plans again.

    Only for SQLite, where this process is the study's only worker.
    """
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    for trial in running:
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
