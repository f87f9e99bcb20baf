"""What each format is estimated to add to the loss, layer by layer, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hwsearch.plan import WeightFormat, groups_of
from hwsearch.schema import Frozen

if TYPE_CHECKING:
    from hwsearch.study.choices.search_space import SearchSpace

#: Nats by format.
ByFormat = dict[WeightFormat, float]


class Sensitivities(Frozen):
    """The loss that each choice of a format adds alone, in nats, as a backward pass tells it.

    Attributes:
        layers: for each layer by linear group and format; what is no finite number is left out. The
            groups are those of the search, such as ``attention``, ``gate_up`` and ``down``.
        head: of the output head by format; all 0 where a network has none.
        passes: what the estimates cost, in full passes over one sequence.
    """

    layers: tuple[dict[str, ByFormat], ...]
    head: ByFormat
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
        parts = [known.get(name, {}).get(fmt) for name in names]
        return None if None in parts else sum(part for part in parts if part is not None)

    def covers(self, formats: Iterable[WeightFormat], groups: Iterable[str] = ()) -> bool:
        """Whether each of some formats was estimated, in each of some linear groups of every layer."""
        wanted = list(groups)
        return set(formats) <= {WeightFormat.FP32, *self.head} and all(
            group in layer or layer.keys() >= set(groups_of(group))
            for layer in self.layers
            for group in wanted
        )

    def prior(self, space: SearchSpace) -> dict[str, dict[int, float]]:
        """Estimates by parameter of a space and the index of its choice.

        Layers of one group add up. Parameters without an estimate of each choice, such as sink
        thresholds and sizes, are left out.
        """
        places: dict[str, list[tuple[int | None, str]]] = {
            f"{group}.{field}": [(layer, field) for layer in span]
            for group, span in space.spans.items()
            for field in space.linear_groups
        }
        places["head"] = [(None, "head")]
        found = {}
        for name, summed in places.items():
            losses = [self._sum(summed, fmt) for fmt in space.formats]
            if None not in losses:
                found[name] = {i: loss for i, loss in enumerate(losses) if loss is not None}
        return found

    def _sum(self, places: list[tuple[int | None, str]], fmt: WeightFormat) -> float | None:
        parts = [self.of(layer, group, fmt) for layer, group in places]
        return None if None in parts else sum(part for part in parts if part is not None)
