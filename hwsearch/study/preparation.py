"""What the trials of a study share, made before the first: target, workload, loss, predictor."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from hwsearch.compression import WeightBank, own_calibration
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.digest import sizes_digest
from hwsearch.denoisers.finite import check_pass, check_weights
from hwsearch.errors import InfeasibleTargetError, InputError, StudyError
from hwsearch.latency.devices.device import Calibration, Device
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.full_pass import predictor_of
from hwsearch.plan import CompressionPlan, Decoding, LayerPlan
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.study.choices.exact_solution import cheapest_of
from hwsearch.study.choices.search_space import WHOLE, SearchSpace
from hwsearch.study.goal import MILLISECONDS, Unit, joule_unit
from hwsearch.study.objective import Objective, size_bytes
from hwsearch.study.records.identity import Content, check_content, content_of
from hwsearch.study.records.study import Study
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.tasks.losses import PROXIES, Proxy, make_proxy
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.tasks.problem import Problem

#: Calibration questions behind the frozen states.
QUESTIONS = 96

#: The first of them calibrate the sinks, which takes a full pass a token: one answer is worth hundreds
#: of positions.
SINK_QUESTIONS = 16

#: And the first of them say how long a prompt is: shipped tables were timed at that length.
MEDIAN_OF = 32

#: The environment's variable that makes calibration questions fewer, wherever gsm-mini's are asked:
#: a quick look, on which nothing should be built.
QUESTIONS_VARIABLE = "HWSEARCH_QUESTIONS"

#: Losses that see each pass without those before it.
ONE_REFRESH = ("nll", "digits")

#: What a plan's figures depend on when it is exported: not the loss, nor the code that computed it.
PREDICTED = ("weights", "settings", "questions", "device figures")

#: Slowest layers that are named when a target is infeasible.
BINDING = 3


@dataclass(frozen=True)
class Target:
    """What to stay within: milliseconds, joules, or a share of what the uncompressed model takes.

    Attributes:
        ms: milliseconds of a generation.
        ratio: a share of the uncompressed model's.
        joules: joules of a generation.
        energy: whether a ratio is one of energy; joules always are.

    Raises:
        InputError: none or several are given, or the value is not positive.
    """

    ms: float | None = None
    ratio: float | None = None
    joules: float | None = None
    energy: bool = False

    def __post_init__(self) -> None:
        given = [v for v in (self.ms, self.ratio, self.joules) if v is not None]
        if len(given) != 1:
            raise InputError("give exactly one of target_ms, target_ratio and target_joules")
        if not given[0] > 0:
            raise InputError(f"a target must be larger than 0; got {given[0]}")
        if self.energy and self.ms is not None:
            raise InputError("a target of energy is target_joules or target_ratio, not target_ms")

    def unit(self, device: Device) -> Unit:
        """What it is told in. Raises `InputError` for energy where the device's power is unknown."""
        if self.energy or self.joules is not None:
            return joule_unit(device.info.known_power.watts)
        return MILLISECONDS

    def resolve_ms(self, baseline_ms: float, unit: Unit = MILLISECONDS) -> float:
        """Milliseconds of the target, given the uncompressed model's."""
        if self.ratio is not None:
            return self.ratio * baseline_ms
        return self.ms if self.ms is not None else unit.to_ms(float(self.joules or 0))


def prepare(
    denoiser: Denoiser,
    space: SearchSpace,
    device: Device,
    workload: Workload,
    target: Target,
    questions: list[str],
    proxy: Proxy | None = None,
    *,
    max_bytes: int | None = None,
    max_joules: float | None = None,
    two: bool = False,
    content: Content | None = None,
) -> Objective:
    """Everything that the trials of a study share.

    Args:
        denoiser: the uncompressed model.
        space: what may be chosen.
        device: where the plan will run.
        workload: what is generated.
        target: the latency or energy to stay within.
        questions: behind the frozen states; the first `SINK_QUESTIONS` behind the sink profile.
        proxy: the loss; None is the KL divergence on frozen states of the questions.
        max_bytes: most bytes of weights; None does not limit them.
        max_joules: most energy of a generation beside a target of time; None does not limit it.
        two: whether latency, or energy, is an objective of its own; then no target can be infeasible.
        content: what `content` says of all this, where it is known already.

    Raises:
        StudyError: the space does not fit the model or the device.
        InputError: energy is limited on a device whose power nobody measured, or in two ways.
        InfeasibleTargetError: no plan of the space meets the target.
        CheckpointError: a weight, or what the uncompressed model makes of it, is no finite number.
    """
    if space.num_layers != denoiser.num_layers:
        raise StudyError(
            f"the space has {space.num_layers} layers but model {denoiser.name!r} has "
            f"{denoiser.num_layers}"
        )
    space.check(device)
    check_model(space, denoiser, proxy)
    unit = target.unit(device)
    check_max_joules(max_joules, unit, device)
    check_weights(denoiser)
    check_pass(denoiser, questions[0])
    calibration = calibration_of(device, denoiser)
    predictor = predictor_of(device, denoiser, workload, calibration)
    sinks = sinks_for_space(denoiser, space, questions)
    uncompressed = device.uncompressed(space.num_layers)
    baseline = predictor.predict(sinks.keep(uncompressed)).generation_ms
    objective = Objective(
        denoiser=denoiser,
        space=space,
        predictor=predictor,
        sinks=sinks,
        proxy=proxy or FrozenStates.record(denoiser, questions),
        bank=bank_of(denoiser, space, questions),
        target_ms=target.resolve_ms(baseline, unit),
        max_bytes=max_bytes,
        two=two,
        unit=unit,
        max_joules=max_joules,
        content=content or describe(denoiser, device, questions, proxy),
    )
    check_feasible(objective)
    check_own_loss(objective)
    return objective


def calibration_of(device: Device, denoiser: Denoiser) -> Calibration | None:
    """What a device's sums are made times with, for a model. Raises `InputError` if it is of others."""
    return device.info.calibration(denoiser.name, sizes_digest(denoiser))


def describe(
    denoiser: Denoiser, device: Device, questions: Sequence[str], loss: Proxy | str | None
) -> dict[str, str]:
    """What a study of these is about, by content; None is the loss that `prepare` makes itself."""
    name = (loss or FrozenStates.name) if isinstance(loss, str | None) else loss.name
    return content_of(denoiser, device, calibration_of(device, denoiser), questions, name)


def check_own_loss(objective: Objective) -> None:
    """See that the uncompressed model's own loss is a number.

    Raises:
        InputError: it is not, so no plan could be compared with it.
    """
    loss = objective.loss(CompressionPlan.uniform(objective.space.num_layers))
    if not math.isfinite(loss):
        raise InputError(
            f"model {objective.denoiser.name!r}: its own loss, uncompressed, must be a finite number; "
            f"loss {objective.proxy.name!r} gives {loss} on the calibration questions: take another "
            "checkpoint, or another --loss"
        )


def check_model(space: SearchSpace, denoiser: Denoiser, proxy: Proxy | None = None) -> None:
    """Refuse sizes and phases that a model, or a loss, does not know.

    Raises:
        StudyError: heads or channels are offered that the model does not have; or phases, and the
            loss judges every pass as a generation's first.
    """
    if space.prunes and not denoiser.is_cached:
        raise StudyError(
            f"model {denoiser.name!r} is not in Llama form, so it has no heads or channels to search: "
            "leave [space].kept_heads and kept_channels out"
        )
    most = {}
    if space.prunes:
        geometry = denoiser.geometry
        most = {"kept_heads": geometry.num_kv_heads, "kept_channels": geometry.intermediate_size}
    for name, there in most.items():
        for kept in getattr(space, name):
            if kept is not None and kept > there:
                raise StudyError(f"[space].{name} must be at most {there}; got {kept}")
    phased = {f"{WHOLE}early_scale", f"{WHOLE}late_scale"} & space.plan_dials.keys()
    if phased and proxy is not None and proxy.name in ONE_REFRESH:
        raise StudyError(
            f"loss {proxy.name!r} judges every pass as the first of a generation, so it cannot tell "
            "early from late: take the loss kl or agreement, or leave early_scales and late_scales out"
        )


def bank_of(denoiser: Denoiser, space: SearchSpace, questions: Sequence[str]) -> WeightBank:
    """Modules for the plans of a space; calibrated only where it prunes weights, which takes a while."""
    return WeightBank(denoiser, own_calibration(denoiser, questions) if space.prunes else None)


def check_max_joules(max_joules: float | None, unit: Unit, device: Device) -> None:
    """Refuse a limit of energy that means nothing. Raises `InputError`."""
    if max_joules is None:
        return
    if not max_joules > 0:
        raise InputError(f"max_joules must be larger than 0; got {max_joules}")
    if unit != MILLISECONDS:
        raise InputError(
            "max_joules limits energy beside a target of time; where energy is the target, it is "
            "target_joules or target_ratio"
        )
    _ = device.info.known_power


def sinks_for_space(denoiser: Denoiser, space: SearchSpace, questions: list[str]) -> SinkProfile:
    """The sink profile of a model; one that caches nothing keeps all.

    Raises:
        StudyError: thresholds below 1 are offered, and the model caches nothing.
    """
    if denoiser.is_cached:
        return sink_profile(denoiser, tuple(questions[:SINK_QUESTIONS]))
    if set(space.thresholds) != {1.0}:
        raise StudyError(
            f"model {denoiser.name!r} caches no positions, so it has no sink thresholds to search: "
            f"[space].thresholds must be [1.0]; got {list(space.thresholds)}"
        )
    return SinkProfile.keeping_all(denoiser.num_layers)


@lru_cache(maxsize=1)
def sink_profile(denoiser: Denoiser, questions: tuple[str, ...]) -> SinkProfile:
    """As `calibrate_sinks`, once: timing a machine and searching for it ask for the same profile."""
    return calibrate_sinks(denoiser, questions)


def reopen(study: Study, denoiser: Denoiser, device: Device, questions: Sequence[str]) -> Objective:
    """The objective that a study was searched with, made again.

    Raises as `prepare` does, and `InputError` where model, questions or device have other content than
    when the study was searched.
    """
    decoding = Decoding.model_validate_json(study.optuna.user_attrs["decoding"])
    prompt_length = json.loads(study.optuna.user_attrs["workload"])["prompt_length"]
    workload = Workload(prompt_length, decoding)
    content = describe(denoiser, device, questions, study.optuna.user_attrs.get("loss", "kl"))
    check_content(study.optuna, content, PREDICTED)
    target = Target(ms=study.target_ms)
    if study.unit != MILLISECONDS:
        target = Target(joules=study.unit.of(study.target_ms))
    known = study.optuna.user_attrs
    loss = known.get("loss", "kl")
    proxy = choose_proxy(loss, denoiser, None) if loss in PROXIES else None
    return prepare(
        denoiser,
        study.space,
        device,
        workload,
        target,
        list(questions),
        proxy,
        max_bytes=known.get("max_bytes"),
        max_joules=known.get("max_joules"),
        two=study.aim.two,
        content=content,
    )


def calibration_problems(count: int = QUESTIONS) -> list[Problem]:
    """Problems of gsm-mini's calibration split; fewer where the environment says so.

    Raises:
        InputError: the environment's `QUESTIONS_VARIABLE` is no whole number from 1 up.
    """
    return list(islice(problems("calibration"), min(count, _most_questions())))


def calibration_questions(count: int = QUESTIONS) -> list[str]:
    """Their questions."""
    return [problem.question for problem in calibration_problems(count)]


def _most_questions() -> int:
    """Calibration problems at most, as the environment says. Raises `InputError`."""
    said = os.environ.get(QUESTIONS_VARIABLE, str(QUESTIONS))
    if not (said.isascii() and said.isdigit() and int(said)):
        raise InputError(
            f"the environment's {QUESTIONS_VARIABLE} must be a whole number from 1 up; got {said!r}"
        )
    return int(said)


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
            "make it with hwsearch.tasks.losses.make_proxy and give that as the loss"
        )
    return make_proxy(loss, denoiser, [Problem(question, "") for question in questions])


def default_workload(denoiser: Denoiser) -> Workload:
    """gsm-mini's median prompt, answered as the model's makers decode it."""
    lengths = sorted(
        len(denoiser.prompt(problem.question))
        for problem in islice(problems("calibration"), MEDIAN_OF)
    )
    return Workload(lengths[len(lengths) // 2], denoiser.decoding)


def fastest_plan(objective: Objective) -> CompressionPlan:
    """The plan of least predicted latency that stays within the limit of bytes.

    Raises:
        InfeasibleTargetError: no plan stays within it.
    """
    space, times, weights = objective.space, objective.times, objective.weights
    room = None if objective.max_bytes is None else objective.max_bytes - weights.first
    chosen = cheapest_of(times, weights, room)
    if chosen is None:
        smallest = cheapest_of(weights, times, None)
        assert smallest is not None, "without a limit every plan is admissible"
        least = size_bytes(objective.denoiser, space.plan(smallest))
        raise InfeasibleTargetError(
            f"no plan meets max_bytes {objective.max_bytes}: the smallest takes {least} bytes; "
            "raise max_bytes or offer smaller formats"
        )
    return space.plan(chosen)


def check_feasible(objective: Objective) -> None:
    """Raise `InfeasibleTargetError` if even the fastest admissible plan misses a limit."""
    plan = fastest_plan(objective)
    fastest_ms = objective.latency(plan).generation_ms
    missed = [(unit, most_ms) for unit, most_ms in objective.limits() if fastest_ms > most_ms]
    if not missed:
        return
    layers = objective.predictor.layers_ms(objective.sinks.keep(plan))
    raise InfeasibleTargetError(explain_miss(objective, plan, missed[0], fastest_ms, layers))


def explain_miss(
    objective: Objective,
    plan: CompressionPlan,
    missed: tuple[Unit, float],
    fastest_ms: float,
    layers_ms: Sequence[float],
) -> str:
    """One line: the fastest plan, what it reaches, and which layers bind."""
    unit, most_ms = missed
    order = sorted(range(len(layers_ms)), key=lambda i: -layers_ms[i])
    binding = ", ".join(
        f"layer {i} {unit.show(layers_ms[i])} ({_said(plan.layers[i])})" for i in order[:BINDING]
    )
    limit = "" if objective.max_bytes is None else f" within {objective.max_bytes} bytes"
    beside_ms = fastest_ms - sum(layers_ms)
    # a calibration may find that a pass costs less than its layers did alone; then nothing is beside
    beside = f", {unit.show(beside_ms)} of it outside the layers" if beside_ms > 0 else ""
    return (
        f"no plan{limit} meets {unit.show(most_ms)}: the fastest takes "
        f"{unit.show(fastest_ms)}{beside}; what binds: {binding}; raise the target"
        + (" or max_bytes," if limit else ",")
        + " or offer faster formats or fewer decoding steps"
    )


def _said(layer: LayerPlan) -> str:
    """What a plan says of a layer; sizes where they are smaller."""
    sizes = "".join(
        f", {name} {kept}"
        for name in ("kept_heads", "kept_channels")
        if (kept := getattr(layer, name)) is not None
    )
    return f"attention {layer.attention}, mlp {layer.mlp}, sink_threshold {layer.sink_threshold:g}{sizes}"
