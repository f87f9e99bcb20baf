"""What the trials of a study share, made before the first: target, workload, loss, predictor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from hwsearch.compression import WeightBank
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InfeasibleTargetError, InputError, StudyError
from hwsearch.latency.device import Device
from hwsearch.latency.full_pass import predictor_of
from hwsearch.latency.operators import Workload
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.search.objective import Objective
from hwsearch.search.space import SearchSpace
from hwsearch.search.study import Study
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.tasks.frozen import FrozenStates
from hwsearch.tasks.gsm_mini import problems
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.proxies import PROXIES, Proxy, make_proxy

#: Calibration questions behind the sink profile and the frozen states.
QUESTIONS = 32


@dataclass(frozen=True)
class Target:
    """The latency to stay within: milliseconds, or a share of the uncompressed model's.

    Raises:
        InputError: neither or both are given, or the value is not positive.
    """

    ms: float | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        if (self.ms is None) == (self.ratio is None):
            raise InputError("give exactly one of target_ms and target_ratio")
        value = self.ms if self.ms is not None else self.ratio
        if value is None or not value > 0:
            raise InputError(f"a target must be larger than 0; got {value}")

    def resolve_ms(self, baseline_ms: float) -> float:
        """Milliseconds of the target, given the uncompressed model's."""
        return self.ms if self.ms is not None else float(self.ratio or 0) * baseline_ms


def prepare(
    denoiser: Denoiser,
    space: SearchSpace,
    device: Device,
    workload: Workload,
    target: Target,
    questions: list[str],
    proxy: Proxy | None = None,
) -> Objective:
    """Everything that the trials of a study share.

    Args:
        denoiser: the uncompressed model.
        space: what may be chosen.
        device: where the plan will run.
        workload: what is generated.
        target: the latency to stay within.
        questions: behind the sink profile.
        proxy: the loss; None is the KL divergence on frozen states of the questions.

    Raises:
        StudyError: the space does not fit the model or the device.
        InfeasibleTargetError: no plan of the space meets the target.
    """
    if space.num_layers != denoiser.num_layers:
        raise StudyError(
            f"the space has {space.num_layers} layers but model {denoiser.name!r} has "
            f"{denoiser.num_layers}"
        )
    space.check(device)
    calibration = device.info.calibration(denoiser.name)
    predictor = predictor_of(device, denoiser, workload, calibration)
    sinks = sinks_of(denoiser, space, questions)
    uncompressed = device.uncompressed(space.num_layers)
    baseline = predictor.predict(uncompressed, sinks.kept_shares(uncompressed)).generation_ms
    objective = Objective(
        denoiser=denoiser,
        space=space,
        predictor=predictor,
        sinks=sinks,
        proxy=proxy or FrozenStates.record(denoiser, questions),
        bank=WeightBank(denoiser),
        target_ms=target.resolve_ms(baseline),
    )
    check_feasible(objective)
    return objective


def sinks_of(denoiser: Denoiser, space: SearchSpace, questions: list[str]) -> SinkProfile:
    """The sink profile of a model; one that caches nothing keeps all.

    Raises:
        StudyError: thresholds below 1 are offered, and the model caches nothing.
    """
    if denoiser.is_cached:
        return calibrate_sinks(denoiser, questions)
    if set(space.thresholds) != {1.0}:
        raise StudyError(
            f"model {denoiser.name!r} caches no positions, so it has no sink thresholds to search: "
            f"[space].thresholds must be [1.0]; got {list(space.thresholds)}"
        )
    return SinkProfile.keeping_all(denoiser.num_layers)


def reopen(study: Study, denoiser: Denoiser, device: Device, questions: Sequence[str]) -> Objective:
    """The objective that a study was searched with, made again.

    Raises as `prepare` does.
    """
    decoding = Decoding.model_validate_json(study.optuna.user_attrs["decoding"])
    prompt_length = json.loads(study.optuna.user_attrs["workload"])["prompt_length"]
    workload = Workload(prompt_length, decoding)
    target = Target(ms=study.target_ms)
    loss = study.optuna.user_attrs.get("loss", "kl")
    proxy = choose_proxy(loss, denoiser, None) if loss in PROXIES else None
    return prepare(denoiser, study.space, device, workload, target, list(questions), proxy)


def calibration_problems(count: int = QUESTIONS) -> list[Problem]:
    """Problems of gsm-mini's calibration split."""
    return list(islice(problems("calibration"), count))


def calibration_questions(count: int = QUESTIONS) -> list[str]:
    """Their questions."""
    return [problem.question for problem in calibration_problems(count)]


def choose_proxy(
    loss: str | Proxy, denoiser: Denoiser, questions: Sequence[str] | None
) -> Proxy | None:
    """The proxy that a loss stands for; None is the one that `prepare` makes itself.

    Args:
        loss: a name of `PROXIES`, or a proxy.
        denoiser: the uncompressed model.
        questions: calibration questions; None takes gsm-mini's, whose answers are known.

    Raises:
        UnknownNameError: no proxy goes by that name.
        InputError: the proxy needs answers, and only questions are given.
    """
    if not isinstance(loss, str):
        return loss
    if loss == "kl":
        return None
    if questions is None:
        return make_proxy(loss, denoiser, calibration_problems())
    if loss in ("nll", "digits"):
        raise InputError(
            f"loss {loss!r} needs problems with answers, not questions alone; "
            "make it with hwsearch.tasks.proxies.make_proxy and give that as the loss"
        )
    return make_proxy(loss, denoiser, [Problem(question, "") for question in questions])


def default_workload(denoiser: Denoiser) -> Workload:
    """gsm-mini's median prompt, answered as the model's makers decode it."""
    lengths = sorted(len(denoiser.prompt(question)) for question in calibration_questions())
    return Workload(lengths[len(lengths) // 2], denoiser.decoding)


def fastest_plan(objective: Objective) -> CompressionPlan:
    """The plan of least predicted latency: the cheapest choice of every parameter."""
    costs = objective.costs()
    return objective.space.plan(
        {name: min(choices, key=lambda c: choices[c]) for name, choices in costs.items()}
    )


def check_feasible(objective: Objective) -> None:
    """Raise `InfeasibleTargetError` if even the fastest plan misses the target."""
    plan = fastest_plan(objective)
    latency = objective.latency(plan)
    if latency.generation_ms <= objective.target_ms:
        return
    shares = objective.sinks.kept_shares(plan)
    layers = [objective.predictor.layer_ms(*pair) for pair in zip(plan.layers, shares, strict=True)]
    slowest = max(range(len(layers)), key=layers.__getitem__)
    fixed = latency.generation_ms - sum(layers)
    raise InfeasibleTargetError(
        f"no plan meets {objective.target_ms:.2f} ms: the fastest takes "
        f"{latency.generation_ms:.2f} ms ({fixed:.2f} ms of it outside the layers, and "
        f"{layers[slowest]:.2f} ms in layer {slowest}, the slowest, with attention "
        f"{plan.layers[slowest].attention} and mlp {plan.layers[slowest].mlp}); "
        f"raise the target or offer fewer decoding steps"
    )
