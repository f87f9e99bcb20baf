"""The whole plan: every layer, the head, and how text is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from hwsearch.errors import PlanError
from hwsearch.files import FileKind, parse_json, read_json
from hwsearch.files.kinds import MIB
from hwsearch.plan.decoding import Decoding
from hwsearch.plan.layers import (
    LINEAR_GROUPS,
    CachePolicy,
    CacheRule,
    LayerPlan,
    Rounding,
    WeightFormat,
    WeightPruning,
)
from hwsearch.schema import MOST_LAYERS, OmitsDefaults, explain

SCHEMA_VERSION: Final = 1

#: The file of a plan.
PLAN_FILE = FileKind("plan", 4 * MIB, PlanError)


class CompressionPlan(OmitsDefaults):
    """A whole plan.

    Attributes:
        layers: one `LayerPlan` for each layer of the model, first layer first.
        head: format of the output head.
        decoding: how text is decoded; None leaves it to the model's own default.
        cache: which cached positions layers with a threshold below 1 keep.
        pruning: which weights go, where layers prune any.
        rounding: how weights become those of their formats: each to the ``nearest``, or ``calibrated``,
            each linear by the method that leaves the least error in its outputs on calibration inputs.
            Layers with a sparsity are rounded to nearest anyway.
        schema_version: version of this schema.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    layers: Annotated[tuple[LayerPlan, ...], Field(min_length=1, max_length=MOST_LAYERS)]
    head: WeightFormat = WeightFormat.FP32
    decoding: Decoding | None = None
    cache: CachePolicy = CachePolicy()
    pruning: WeightPruning = WeightPruning()
    rounding: Rounding = "nearest"

    _omitted_defaults = frozenset({"cache", "pruning", "rounding"})

    @model_validator(mode="after")
    def _refreshes_for_its_rule(self) -> Self:
        advances = self.decoding is not None and self.decoding.window.advance
        drops = any(layer.sink_threshold < 1.0 for layer in self.layers)
        if advances and drops and self.cache.rule is CacheRule.MEAN_QUERY:
            raise ValueError(
                "cache.rule 'mean-query' looks at the refresh of each block, and "
                "decoding.window.advance has blocks begin without one"
            )
        return self

    @property
    def needs_calibration(self) -> bool:
        """Whether its weights depend on what linears see of calibration questions."""
        return self.rounding == "calibrated" or any(layer.prunes for layer in self.layers)

    @classmethod
    def uniform(
        cls,
        num_layers: int,
        attention: str = "fp32",
        mlp: str = "fp32",
        sink_threshold: float = 1.0,
        **rest: Any,
    ) -> CompressionPlan:
        """The plan that treats every layer alike; with no further argument, the uncompressed one.

        `rest` are further fields of `LayerPlan`, such as ``down="w8"``, and of the plan.
        """
        layer = {"sink_threshold": sink_threshold, "attention": attention, "mlp": mlp}
        own = (*LINEAR_GROUPS, *LayerPlan.PRUNING)
        layer |= {name: rest.pop(name) for name in own if name in rest}
        return cls.validate({"layers": [layer] * num_layers, **rest})

    @classmethod
    def validate(cls, data: object) -> CompressionPlan:
        """A plan from plain data.

        Raises:
            PlanError: a key is unknown or missing, or a value is outside its range; the message
                names the key.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise PlanError(f"plan: {explain(error)}") from error

    @classmethod
    def from_json(cls, text: str) -> CompressionPlan:
        """A plan from its JSON text. Raises `PlanError` as `validate` does."""
        return cls.validate(parse_json(text, "plan", PLAN_FILE))

    @classmethod
    def read(cls, path: Path) -> CompressionPlan:
        """A plan from a JSON file. Raises `PlanError`, naming the file."""
        found = read_json(path, PLAN_FILE)
        try:
            return cls.validate(found)
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from error

    def to_json(self) -> str:
        """The plan as indented JSON text."""
        return self.model_dump_json(indent=2)
