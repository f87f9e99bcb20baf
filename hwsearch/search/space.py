"""What a search may choose: thresholds and formats, layer by layer or in groups of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from math import prod
from typing import Annotated, Any, Literal

import optuna
from pydantic import Field

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import StudyError
from hwsearch.export.quantise import FORMATS
from hwsearch.latency.device import Device
from hwsearch.plan import CompressionPlan, Frozen, LayerPlan, WeightFormat

#: Thresholds offered unless a study says otherwise, most careful first.
THRESHOLDS = (1.0, 0.9, 0.7, 0.5, 0.25)

#: How layers may be tied: all alike, in three runs of neighbours, or each by itself.
Groups = Literal["tied", "thirds", "free"]


class SearchSpace(Frozen):
    """The choices of a study. Every choice list is ordered, least compressed first.

    A parameter is the index of a choice, so that samplers see the order. Layers of one group share
    their parameters; every plan of coarse groups is a plan of the free ones, too.

    Attributes:
        num_layers: layers of the model.
        thresholds: sink thresholds that any layer may take.
        formats: weight formats that any layer's attention and mlp, and the head, may take; those of
            an exported bundle unless a device says otherwise.
        groups: which layers are treated alike.
    """

    num_layers: Annotated[int, Field(ge=1)]
    thresholds: Annotated[tuple[float, ...], Field(min_length=1)] = THRESHOLDS
    formats: Annotated[tuple[WeightFormat, ...], Field(min_length=1)] = FORMATS
    groups: Groups = "free"

    @classmethod
    def of(cls, denoiser: Denoiser, device: Device) -> SearchSpace:
        """Every threshold, if the model caches anything, and every format that the device runs."""
        return cls(
            num_layers=denoiser.num_layers,
            thresholds=THRESHOLDS if denoiser.is_cached else (1.0,),
            formats=tuple(device.costs.formats()),
        )

    def check(self, device: Device) -> None:
        """Refuse formats that the device cannot run, and spaces of a single plan.

        Raises:
            StudyError: a format is offered that the device's table does not know, a choice is
                offered twice, or nothing can be chosen.
        """
        known = device.costs.formats()
        for fmt in self.formats:
            if fmt not in known:
                raise StudyError(
                    f"format {fmt.value} is not timed on device {device.info.name}, which has "
                    f"{', '.join(known)}; drop it from [space].formats or profile the device"
                )
        for name, choices in (("thresholds", self.thresholds), ("formats", self.formats)):
            if len(set(choices)) < len(choices):
                twice = ", ".join(str(choice) for choice in choices)
                raise StudyError(f"[space].{name} must not repeat a choice; got {twice}")
        if self.size == 1:
            raise StudyError(
                f"the space holds one plan only (threshold {self.thresholds[0]}, format "
                f"{self.formats[0].value}); offer a second choice in [space]"
            )

    @property
    def dials(self) -> dict[str, tuple[Any, ...]]:
        """Choices of each field of a `LayerPlan` that the space varies: add one here to search it."""
        formats = tuple(fmt.value for fmt in self.formats)
        return {"sink_threshold": self.thresholds, "attention": formats, "mlp": formats}

    @property
    def spans(self) -> dict[str, range]:
        """Layers of each group, by the group's name."""
        count = {"tied": 1, "thirds": min(3, self.num_layers), "free": self.num_layers}[self.groups]
        edges = [round(index * self.num_layers / count) for index in range(count + 1)]
        spans = [range(a, b) for a, b in pairwise(edges)]
        return {_name(span): span for span in spans}

    def parameters(self) -> dict[str, tuple[Any, ...]]:
        """Choices by parameter name, in the order in which they are suggested."""
        named = {
            f"{group}.{field}": choices
            for group in self.spans
            for field, choices in self.dials.items()
        }
        return {**named, "head": self.dials["mlp"]}

    def kinds(self) -> dict[str, str]:
        """What each parameter sets, by name: parameters of one kind have like effects."""
        return {name: name.rpartition(".")[2] for name in self.parameters()}

    def distributions(self) -> dict[str, optuna.distributions.IntDistribution]:
        """The parameters as Optuna distributions: indices of choices."""
        return {
            name: optuna.distributions.IntDistribution(0, len(choices) - 1)
            for name, choices in self.parameters().items()
        }

    def suggest(self, trial: optuna.Trial) -> CompressionPlan:
        """The plan that a trial stands for."""
        return self.plan(
            {
                name: trial.suggest_int(name, 0, len(choices) - 1)
                for name, choices in self.parameters().items()
            }
        )

    def plan(self, params: Mapping[str, Any]) -> CompressionPlan:
        """Plan of a full set of parameters, each an index of a choice or the choice itself."""
        layers: list[LayerPlan] = []
        for group, span in self.spans.items():
            chosen = {
                field: _choice(choices, params[f"{group}.{field}"])
                for field, choices in self.dials.items()
            }
            layers.extend([LayerPlan.model_validate(chosen)] * len(span))
        head = _choice(self.dials["mlp"], params["head"])
        return CompressionPlan(layers=tuple(layers), head=WeightFormat(head))

    def params(self, plan: CompressionPlan) -> dict[str, int]:
        """Parameters of a plan: the inverse of `plan`.

        Raises:
            StudyError: the plan is not in the space.
        """
        named: dict[str, int] = {}
        for group, span in self.spans.items():
            for field, choices in self.dials.items():
                value = getattr(plan.layers[span.start], field)
                named[f"{group}.{field}"] = _index(choices, value, f"{group}.{field}")
        named["head"] = _index(self.dials["mlp"], plan.head, "head")
        if self.plan(named).layers != plan.layers:
            raise StudyError(f"layers of a group must be alike with groups = {self.groups!r}")
        return named

    def offers(self, plan: CompressionPlan) -> bool:
        """Whether the plan is one of the space."""
        try:
            self.params(plan)
        except StudyError:
            return False
        return True

    def uniform_plans(self) -> Iterator[CompressionPlan]:
        """Every plan that treats all layers, and the head, alike."""
        for fmt, threshold in product(self.formats, self.thresholds):
            yield CompressionPlan.uniform(
                self.num_layers, fmt.value, fmt.value, threshold, head=fmt
            )

    @property
    def size(self) -> int:
        """Number of different plans."""
        return prod(len(choices) for choices in self.parameters().values())


def is_uniform(plan: CompressionPlan) -> bool:
    """Whether a plan treats all layers, and the head, alike."""
    first = plan.layers[0]
    return set(plan.layers) == {first} and first.attention == first.mlp == plan.head


def _name(span: range) -> str:
    if len(span) == 1:
        return f"layer{span.start}"
    return f"layers{span.start}-{span.stop - 1}"


def _choice(choices: tuple[Any, ...], given: Any) -> Any:
    return choices[given] if isinstance(given, int) else given


def _index(choices: tuple[Any, ...], value: Any, name: str) -> int:
    if value not in choices:
        offered = ", ".join(str(choice) for choice in choices)
        raise StudyError(f"{name} must be one of {offered}; got {value}")
    return choices.index(value)
