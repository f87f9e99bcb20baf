"""What a search may choose: thresholds and formats, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any

import optuna
from pydantic import Field

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import StudyError
from hwsearch.export.quantise import FORMATS
from hwsearch.latency.device import Device
from hwsearch.plan import CompressionPlan, Frozen, LayerPlan, WeightFormat

#: Thresholds offered unless a study says otherwise, most careful first.
THRESHOLDS = (1.0, 0.9, 0.7, 0.5, 0.25)


class SearchSpace(Frozen):
    """The choices of a study. Every choice list is ordered, least compressed first.

    Attributes:
        num_layers: layers of the model.
        thresholds: sink thresholds that any layer may take.
        formats: weight formats that any layer's attention and mlp, and the head, may take; those of
            an exported bundle unless a device says otherwise.
    """

    num_layers: Annotated[int, Field(ge=1)]
    thresholds: Annotated[tuple[float, ...], Field(min_length=1)] = THRESHOLDS
    formats: Annotated[tuple[WeightFormat, ...], Field(min_length=1)] = FORMATS

    @classmethod
    def of(cls, denoiser: Denoiser, device: Device) -> SearchSpace:
        """Every threshold, if the model caches anything, and every format that the device runs."""
        return cls(
            num_layers=denoiser.num_layers,
            thresholds=THRESHOLDS if denoiser.is_cached else (1.0,),
            formats=tuple(device.costs.formats()),
        )

    def check(self, device: Device) -> None:
        """Refuse formats that the device cannot run.

        Raises:
            StudyError: a format is offered that the device's table does not know.
        """
        known = device.costs.formats()
        for fmt in self.formats:
            if fmt not in known:
                raise StudyError(
                    f"format {fmt.value} is not timed on device {device.info.name}, which has "
                    f"{', '.join(known)}; drop it from [space].formats or profile the device"
                )

    def parameters(self) -> dict[str, tuple[Any, ...]]:
        """Choices by parameter name, in the order in which they are suggested."""
        formats = tuple(fmt.value for fmt in self.formats)
        named: dict[str, tuple[Any, ...]] = {}
        for layer in range(self.num_layers):
            named[f"layer{layer}.sink_threshold"] = self.thresholds
            named[f"layer{layer}.attention"] = formats
            named[f"layer{layer}.mlp"] = formats
        return {**named, "head": formats}

    def distributions(self) -> dict[str, optuna.distributions.CategoricalDistribution]:
        """The parameters as Optuna distributions."""
        return {
            name: optuna.distributions.CategoricalDistribution(choices)
            for name, choices in self.parameters().items()
        }

    def suggest(self, trial: optuna.Trial) -> CompressionPlan:
        """The plan that a trial stands for."""
        return self.plan(
            {
                name: trial.suggest_categorical(name, choices)
                for name, choices in self.parameters().items()
            }
        )

    def plan(self, params: Mapping[str, Any]) -> CompressionPlan:
        """Plan of a full set of parameters."""
        layers = tuple(
            LayerPlan(
                sink_threshold=params[f"layer{layer}.sink_threshold"],
                attention=WeightFormat(params[f"layer{layer}.attention"]),
                mlp=WeightFormat(params[f"layer{layer}.mlp"]),
            )
            for layer in range(self.num_layers)
        )
        return CompressionPlan(layers=layers, head=WeightFormat(params["head"]))

    def params(self, plan: CompressionPlan) -> dict[str, Any]:
        """Parameters of a plan: the inverse of `plan`."""
        named: dict[str, Any] = {}
        for index, layer in enumerate(plan.layers):
            named[f"layer{index}.sink_threshold"] = layer.sink_threshold
            named[f"layer{index}.attention"] = layer.attention.value
            named[f"layer{index}.mlp"] = layer.mlp.value
        return {**named, "head": plan.head.value}

    def uniform_plans(self) -> Iterator[CompressionPlan]:
        """Every plan that treats all layers, and the head, alike."""
        for fmt, threshold in product(self.formats, self.thresholds):
            yield CompressionPlan.uniform(
                self.num_layers, fmt.value, fmt.value, threshold, head=fmt
            )

    @property
    def size(self) -> int:
        """Number of different plans."""
        one_layer = len(self.thresholds) * len(self.formats) ** 2
        return one_layer**self.num_layers * len(self.formats)


def is_uniform(plan: CompressionPlan) -> bool:
    """Whether a plan treats all layers, and the head, alike."""
    first = plan.layers[0]
    return set(plan.layers) == {first} and first.attention == first.mlp == plan.head
