"""Whether any plan of a space meets the goal; if none does, what binds."""

from __future__ import annotations

from collections.abc import Sequence

from hwsearch.errors import InfeasibleTargetError
from hwsearch.plan import CompressionPlan, LayerPlan
from hwsearch.study.choices.exact_solution import cheapest_of
from hwsearch.study.goal import Unit
from hwsearch.study.objective import Objective, size_bytes

#: Slowest layers that are named when a target is infeasible.
BINDING = 3


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
    fastest_ms = objective.expected_latency(plan).generation_ms
    missed = [(unit, most_ms) for unit, most_ms in objective.limits() if fastest_ms > most_ms]
    if not missed:
        return
    layers = objective.expected_layers_ms(plan)
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
    formats = ", ".join(f"{name} {fmt}" for name, fmt in layer.formats.items())
    return f"{formats}, sink_threshold {layer.sink_threshold:g}{sizes}"
