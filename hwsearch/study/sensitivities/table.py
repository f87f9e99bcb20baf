"""What formats, sink thresholds and sizes are estimated to add to the loss, layer by layer, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hwsearch.plan import WeightFormat, groups_of
from hwsearch.schema import Frozen

if TYPE_CHECKING:
    from hwsearch.study.choices.search_space import SearchSpace

#: Nats by format.
ByFormat = dict[WeightFormat, float]

#: Nats by sink threshold.
ByThreshold = dict[float, float]

#: Nats by count, by field of a layer's plan.
BySize = dict[str, dict[int, float]]


class Sensitivities(Frozen):
    """The loss that each choice of a format, threshold or size adds alone, in nats, by backward passes.

    Attributes:
        layers: for each layer by linear group and format; what is no finite number is left out. The
            groups are those of the search, such as ``attention``, ``gate_up`` and ``down``.
        head: of the output head by format; all 0 where a network has none.
        thresholds: for each layer by sink threshold; empty where none was estimated.
        sizes: for each layer by ``kept_heads`` or ``kept_channels`` and count; empty where none was.
        passes: what the estimates cost, in full passes over one sequence.
    """

    layers: tuple[dict[str, ByFormat], ...]
    head: ByFormat
    thresholds: tuple[ByThreshold, ...] = ()
    sizes: tuple[BySize, ...] = ()
    passes: float

    def of(self, layer: int | None, group: str, fmt: WeightFormat) -> float | None:
        """The estimate of one choice, the layer of the head being None; None where there is none.

        A short form that was not estimated itself is the sum of its two, as if their errors were
        independent.
        """
        if fmt == WeightFormat.FP32:
            return 0.0
        known = {"head": self.head} if layer is None else self.layers[layer]
        names = (group,) if group in known else groups_of(group)
        return _sum(known.get(name, {}).get(fmt) for name in names)

    def of_threshold(self, layer: int, threshold: float) -> float | None:
        """The estimate of a layer's sink threshold; None where there is none."""
        if threshold == 1.0:
            return 0.0
        return self.thresholds[layer].get(threshold) if self.thresholds else None

    def of_size(self, layer: int, field: str, count: int | None) -> float | None:
        """The estimate of a layer's count of heads or channels, None being all; None where there is none."""
        if count is None:
            return 0.0
        return self.sizes[layer].get(field, {}).get(count) if self.sizes else None

    def covers(self, space: SearchSpace) -> bool:
        """Whether each choice of a space that could be estimated was."""
        groups = all(
            group in layer or layer.keys() >= set(groups_of(group))
            for layer in self.layers
            for group in space.linear_groups
        )
        formats = set(space.formats) <= {WeightFormat.FP32, *self.head}
        thresholds = all({*space.thresholds} <= {1.0, *layer} for layer in self.thresholds or ({},))
        sizes = all(
            {*counts} <= {None, *layer.get(field, ())}
            for field, counts in space.sizes.items()
            for layer in self.sizes or ({},)
        )
        return groups and formats and thresholds and sizes

    def prior(self, space: SearchSpace) -> dict[str, dict[int, float]]:
        """Estimates by parameter of a space and the index of its choice.

        Layers of one group add up. Parameters without an estimate of each choice, such as decodings, are
        left out.
        """
        found: dict[str, list[float | None]] = {
            "head": [self.of(None, "head", fmt) for fmt in space.formats]
        }
        for group, span in space.spans.items():
            found[f"{group}.sink_threshold"] = [
                _sum(self.of_threshold(layer, threshold) for layer in span)
                for threshold in space.thresholds
            ]
            for field, counts in space.sizes.items():
                found[f"{group}.{field}"] = [
                    _sum(self.of_size(layer, field, count) for layer in span) for count in counts
                ]
            for field in space.linear_groups:
                found[f"{group}.{field}"] = [
                    _sum(self.of(layer, field, fmt) for layer in span) for fmt in space.formats
                ]
        return {
            name: {place: loss for place, loss in enumerate(losses) if loss is not None}
            for name, losses in found.items()
            if None not in losses
        }


def _sum(parts: Iterable[float | None]) -> float | None:
    """The sum; None where a part is unknown."""
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)
