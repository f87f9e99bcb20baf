"""Whole models in a kit: the passes of a few plans, so that what comes back can be calibrated.

Their graphs are those of an exported bundle without the weights, some ten kilobytes each. A model
too large for a small board is cut to its first layers, and one whose embedding alone is too large
is left out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from onnx import helper
from pydantic import Field, model_validator

from hwsearch.bundle.weights import Graph
from hwsearch.decoding.cache import kept_count
from hwsearch.decoding.kept import KeptPlan, KeptShares
from hwsearch.denoisers.geometry import Geometry, unbelievable
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.prediction.calibration import calibration_plans
from hwsearch.latency.timing.operator_times import SHARES
from hwsearch.plan import CompressionPlan, Decoding, WeightFormat
from hwsearch.schema import MOST_LAYERS, MOST_LENGTH, Frozen

#: What the two passes of a plan are called among the operators; `rows` is theirs, and `in_features`
#: the plan's place in the kit, counted from 1.
PASSES = ("refresh", "step")

#: Float weights of a pass that a small board can hold, in bytes.
MODEL_BYTES = 5e8

#: Mixed plans beside one for each format.
MIXED = 4

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class KitPlan(Frozen):
    """A plan that a kit runs whole, and the share of cached positions that each layer keeps."""

    plan: CompressionPlan
    kept_shares: tuple[Share, ...]

    @property
    def kept(self) -> KeptPlan:
        """Both as one value; a kit's plans choose positions by the default rule."""
        return KeptPlan(self.plan, KeptShares(self.kept_shares))


class KitModels(Frozen):
    """What a kit runs whole.

    Attributes:
        model: whose sizes.
        geometry: its sizes; its layers may be fewer than the model's.
        model_layers: layers of the model itself.
        prompt_length: tokens of the prompt.
        decoding: how it is decoded.
        plans: the plans.
    """

    model: str
    geometry: Geometry
    model_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)]
    prompt_length: Annotated[int, Field(ge=1, le=MOST_LENGTH)]
    decoding: Decoding
    plans: Annotated[tuple[KitPlan, ...], Field(min_length=2, max_length=1000)]

    @model_validator(mode="after")
    def _of_a_model(self) -> Self:
        problem = unbelievable(self.geometry)
        if problem is not None:
            raise ValueError(f"geometry: {problem}")
        return self

    @property
    def workload(self) -> Workload:
        """What it generates."""
        return Workload(self.prompt_length, self.decoding)

    def key(self, plan: int, part: int) -> OpKey:
        """What a pass of a plan is called in the results."""
        rows = (self.workload.length, self.decoding.block_length)[part]
        return OpKey(PASSES[part], rows, plan + 1)

    def keys(self) -> list[OpKey]:
        """Both passes of every plan."""
        return [self.key(plan, part) for plan in range(len(self.plans)) for part in (0, 1)]


def kit_models(
    model: str,
    geometry: Geometry,
    workload: Workload,
    formats: Sequence[WeightFormat] = USUAL_FORMATS,
) -> KitModels | None:
    """The whole models of a kit; None where not even two layers fit, or there are no cached passes."""
    layers = min(geometry.num_layers, fitting_layers(geometry))
    if layers < min(2, geometry.num_layers) or geometry.causal:
        return None
    plans = calibration_plans(layers, formats, (1.0,), MIXED)
    rng = random.Random(0)
    shares = [
        (1.0,) * layers
        if index < len(formats)
        else tuple(rng.choice(SHARES) for _ in range(layers))
        for index in range(len(plans))
    ]
    return KitModels(
        model=model,
        geometry=replace(geometry, num_layers=layers),
        model_layers=geometry.num_layers,
        prompt_length=workload.prompt_length,
        decoding=workload.decoding,
        plans=tuple(
            KitPlan(plan=plan, kept_shares=kept) for plan, kept in zip(plans, shares, strict=True)
        ),
    )


def fitting_layers(g: Geometry) -> int:
    """Layers whose float weights, with embedding and head, stay within `MODEL_BYTES`."""
    ends = 2 * 4 * g.vocab_size * g.hidden_size
    return max(0, int((MODEL_BYTES - ends) // float_layer_bytes(g)))


def float_layer_bytes(g: Geometry) -> int:
    """Bytes of one layer's float products."""
    attention = g.hidden_size * (2 * g.query_size + 2 * g.kv_size)
    return 4 * (attention + 3 * g.hidden_size * g.intermediate_size)


def pass_bytes(models: KitModels) -> int:
    """Bytes of the float weights of one pass."""
    g = models.geometry
    return 8 * g.vocab_size * g.hidden_size + g.num_layers * float_layer_bytes(g)


@dataclass(frozen=True)
class PassGraph:
    """One pass of one plan: its name, its graph, and its inputs as ``[type, shape]`` or with a limit."""

    key: OpKey
    graph: Graph
    inputs: dict[str, list[Any]]


def pass_graphs(models: KitModels) -> Iterator[PassGraph]:
    """Both passes of every plan, quantised, of random weights."""
    from hwsearch.bundle.graphs.pieces import GraphLayout
    from hwsearch.bundle.graphs.traced import TracedGraphs
    from hwsearch.denoisers.transformer import Transformer

    network = Transformer(models.geometry).eval().requires_grad_(False)
    traced = TracedGraphs(network, GraphLayout.of(models.decoding))
    for index, entry in enumerate(models.plans):
        pruned = entry.kept.kept.pruned
        for part, graph in enumerate((traced.refresh(pruned), traced.step())):
            quantised = traced.quantised(graph, entry.plan)
            inputs = pass_inputs(quantised, models, entry.kept.kept, part)
            yield PassGraph(models.key(index, part), quantised, inputs)


def pass_inputs(
    graph: Graph, models: KitModels, kept: KeptShares, part: int
) -> dict[str, list[Any]]:
    """Inputs of a pass by name: type, shape and, of whole numbers, what they stay below."""
    g, work = models.geometry, models.workload
    shapes: dict[str, list[int]] = {
        "tokens": [1, models.key(0, part).rows],
        "start": [],
        "noise": [1, work.decoding.block_length, g.vocab_size],
        "before": [1, 1, g.hidden_size],
    }
    for layer, share in enumerate(kept.shares):
        keys = kept_count(share, work.outside)
        shapes[f"key_{layer}"] = shapes[f"value_{layer}"] = [1, g.num_kv_heads, keys, g.head_dim]
    limits = {"tokens": [g.vocab_size], "start": [1]}
    return {
        value.name: [_dtype(value), shapes[value.name], *limits.get(value.name, [])]
        for value in graph.model.graph.input
    }


def _dtype(value: Any) -> str:
    return str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name)
