"""Milliseconds and joules of a plan, by layer and by what they are spent on."""

from __future__ import annotations

from typing import Any

from hwsearch.decoding.kept import KeptPlan
from hwsearch.jobs.predicted_model import subject_of
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.prediction.energy import arithmetic
from hwsearch.latency.prediction.operator_sums import OperatorChoice
from hwsearch.latency.prediction.predictor import Latency, Predictor
from hwsearch.plan import CompressionPlan, short_of


def predict_plan(
    plan: CompressionPlan,
    model: str,
    device_name: str,
    prompt_length: int | None = None,
    objective: str = "latency",
) -> dict[str, Any]:
    """Predicted times of a plan of a model on a device, as plain data.

    Args:
        plan: the plan.
        model: the model, or a ``config.json``; its layers must be as many as the plan's.
        device_name: the device.
        prompt_length: tokens of the prompt; None takes gsm-mini's median, or 128 for a config.
        objective: ``latency``, or ``energy`` to insist on joules.

    Raises:
        PlanError: the plan does not fit the model.
        MissingShapeError: the device's table lacks an operator.
        InputError: energy is asked of a device whose power nobody measured.
    """
    device = load_device(device_name)
    subject = subject_of(model, prompt_length)
    kept = subject.keep(plan)
    predictor = subject.predictor_for(device, kept)
    latency = predictor.predict(kept)
    if objective == "energy":
        predictor.energy_j(kept)
    power = device.info.power
    return {
        "device": device.info.name,
        "provenance": device.info.provenance.value,
        "calibrated": predictor.calibration is not None,
        "prompt_length": subject.prompt_length,
        **({"suffix_length": subject.suffix_length} if subject.suffix_length else {}),
        "generation_ms": latency.generation_ms,
        "refresh_ms": latency.refresh_ms,
        "step_ms": latency.step_ms,
        "percentiles_10_90_ms": _intervals(latency),
        "generation_joules": latency.generation_joules,
        "power": None if power is None else power.model_dump(),
        "binding": _binding(predictor, kept),
        "where": where(predictor, kept),
        "decoding": predictor.workload.decoding.words,
        "forecast_priced": predictor.forecast_ms is not None,
        "passes": {kind.value: count for kind, count in latency.passes.items()},
        "problems_10_90_ms": list(latency.problems_ms),
        "tokens": latency.tokens,
        "tokens_per_second": latency.tokens_per_second,
        "tokens_per_pass": latency.tokens_per_pass,
        "arithmetic_energy": arithmetic(predictor, kept),
        "layers": _layers(predictor, kept, latency),
    }


def where(predictor: Predictor, kept: KeptPlan) -> dict[str, dict[str, float]]:
    """What a generation's milliseconds are spent on, by refreshes and steps; adds up to all of it.

    ``projections`` are the q, k, v and output products with their norm, ``attention`` the mixing
    itself, ``head`` the last norm, the head and the choice of tokens, ``fixed`` what the
    calibration found beside the operators (negative where they cost less in a model than alone),
    ``forecast`` what foreseeing passes takes, where a plan does and the device has a price for it.
    """
    groups: dict[str, list[OperatorChoice]] = {"projections": [], "attention": [], "mlp": []}
    names = {"attention": "projections", "kept": "attention", "mlp": "mlp"}
    for choices in predictor.choices(kept):
        for choice in choices:
            groups[names[short_of(choice.part)]].append(choice)
    groups["head"] = [OperatorChoice("ends", kept.plan.head)]
    found = {}
    for name, choices in groups.items():
        refresh, step = predictor.added_by_pass_ms(choices)
        found[name] = {"refresh_ms": refresh, "step_ms": step, "ms": refresh + step}
    if foresees := predictor.forecast_ms:
        found["forecast"] = {"ms": foresees}
    total = predictor.predict(kept).generation_ms
    found["fixed"] = {"ms": total - sum(group["ms"] for group in found.values())}
    return found


def _binding(predictor: Predictor, kept: KeptPlan) -> dict[str, str] | None:
    binding = predictor.binding(kept)
    return None if binding is None else dict(zip(("refresh", "step"), binding, strict=True))


def _intervals(latency: Latency) -> dict[str, list[float]] | None:
    if latency.intervals_ms is None:
        return None
    return {name: list(pair) for name, pair in latency.intervals_ms._asdict().items()}


def _layers(predictor: Predictor, kept: KeptPlan, latency: Latency) -> list[dict[str, Any]]:
    """Each layer; its percentiles take the whole generation's relative error for its own."""
    rows = []
    choices = predictor.choices(kept)
    for index, (layer, share) in enumerate(kept.layers()):
        refresh, step = predictor.added_by_pass_ms(choices[index])
        ms, interval = refresh + step, latency.intervals_ms
        rows.append(
            {
                "layer": index,
                "kept_share": share,
                **{name: fmt.value for name, fmt in layer.formats.items()},
                "kept_heads": layer.kept_heads,
                "kept_channels": layer.kept_channels,
                "ms": ms,
                "refresh_ms": refresh,
                "step_ms": step,
                "percentiles_10_90_ms": None
                if interval is None
                else [ms * end / latency.generation_ms for end in interval.generation],
            }
        )
    return rows
