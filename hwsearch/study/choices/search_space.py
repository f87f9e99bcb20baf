"""What a search may choose: thresholds and formats, layer by layer or in groups of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import optuna
from pydantic import Field

from hwsearch.errors import StudyError
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.plan import (
    SHORT_FORMS,
    CachePolicy,
    CacheRule,
    CompressionPlan,
    Decoding,
    LayerPlan,
    Rounding,
    WeightFormat,
    groups_of,
)
from hwsearch.schema import MOST_LAYERS, OmitsDefaults
from hwsearch.study.choices.decodings import offered_decodings
from hwsearch.study.choices.linear_groups import TOGETHER, LinearGroupNames, offered_linear_groups

if TYPE_CHECKING:
    from hwsearch.decoding.kept import KeptShares
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.described import DescribedModel
    from hwsearch.latency.devices.device import Device
    from hwsearch.sinks import SinkProfile

#: Thresholds offered unless a study says otherwise, most careful first.
THRESHOLDS = (1.0, 0.9, 0.7, 0.5, 0.25)

#: How names of the cache's parameters begin, and the name of how text is decoded: the whole plan shares
#: these, beside the head.
WHOLE, DECODING = "cache.", "decoding"

#: How layers may be tied: all alike, in three runs of neighbours, or each by itself.
Groups = Literal["tied", "thirds", "free"]

#: Choices of how many heads, or channels, a layer keeps; None keeps all.
Counts = Annotated[tuple[Annotated[int, Field(ge=1)] | None, ...], Field(min_length=1)]

#: Choices of a factor of the kept shares.
Scales = Annotated[
    tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(min_length=1)
]


class SearchSpace(OmitsDefaults):
    """The choices of a study. Every choice list is ordered, least compressed first.

    A parameter is the index of a choice, so that samplers see the order. Layers of one group share
    their parameters; every plan of coarse groups is a plan of the free ones, too.

    Attributes:
        num_layers: layers of the model.
        thresholds: sink thresholds that any layer may take.
        formats: weight formats that any layer's linear groups, and the head, may take; those of
            an exported bundle unless a device says otherwise.
        linear_groups: the linears of a layer that take one format together: ``attention`` or ``qkv`` and
            ``out``, ``mlp`` or ``gate_up`` and ``down``. Studies that do not say have the two of before.
        groups: which layers are treated alike.
        kept_heads, kept_channels: key / value heads, and mlp channels, that any layer may keep.
        rules: by which cached positions are kept, in the whole plan.
        early_scales, late_scales: factors of all kept shares early and late in a generation.
        boundaries: unwritten shares of the generation at which early may end.
        decodings: how text may be written; None is as the model's makers do.
        rounding: how every plan rounds its weights.
    """

    num_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)]
    thresholds: Annotated[tuple[float, ...], Field(min_length=1)] = THRESHOLDS
    formats: Annotated[tuple[WeightFormat, ...], Field(min_length=1)] = USUAL_FORMATS
    linear_groups: LinearGroupNames = TOGETHER
    groups: Groups = "free"
    kept_heads: Counts = (None,)
    kept_channels: Counts = (None,)
    rules: Annotated[tuple[CacheRule, ...], Field(min_length=1)] = (CacheRule.KEEP_STABLE,)
    early_scales: Scales = (1.0,)
    late_scales: Scales = (1.0,)
    boundaries: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (
        0.5,
    )
    decodings: Annotated[tuple[Decoding | None, ...], Field(min_length=1)] = (None,)
    rounding: Rounding = "nearest"

    #: The lists that hold choices of a layer's size, and of the whole plan's cache by its fields.
    SIZES: ClassVar[tuple[str, ...]] = ("kept_heads", "kept_channels")
    CACHE: ClassVar[dict[str, str]] = {
        "rule": "rules",
        "early_scale": "early_scales",
        "late_scale": "late_scales",
        "boundary": "boundaries",
    }
    # studies are known by their space's text, which was there before these
    _LISTS: ClassVar[frozenset[str]] = frozenset(
        {*SIZES, *CACHE.values(), "decodings", "linear_groups"}
    )
    _omitted_defaults = _LISTS | {"rounding"}

    @classmethod
    def of(cls, denoiser: Denoiser | DescribedModel, device: Device, **chosen: Any) -> SearchSpace:
        """Every threshold, if the model caches anything, every format that the device runs, and the
        decodings of `hwsearch.study.choices.decodings`; of an autoregressive model formats alone.

        ``gate_up`` and ``down`` are apart where a format rounds inputs with one scale a sample, as
        ``w8a8`` does: what flows into ``down`` has outliers, which then cost all other inputs their
        precision. Elsewhere the two are one group, since a larger space takes more trials.

        Args:
            denoiser: the model.
            device: where the plan will run.
            chosen: fields that shall be otherwise.
        """
        formats = chosen.get("formats", device.costs.formats())
        offered = {
            "num_layers": denoiser.num_layers,
            "thresholds": THRESHOLDS if denoiser.is_cached and not denoiser.is_causal else (1.0,),
            "formats": tuple(formats),
            "linear_groups": offered_linear_groups(denoiser, formats),
            "decodings": offered_decodings(denoiser),
        }
        return cls(**{**offered, **chosen})

    @property
    def keeps_all(self) -> bool:
        """Whether no plan drops a cached position."""
        return {*self.thresholds, *self.early_scales, *self.late_scales} == {1.0}

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
        for name in ("thresholds", "formats", *sorted(self._LISTS)):
            choices = getattr(self, name)
            if len(set(choices)) < len(choices):
                twice = ", ".join(str(choice) for choice in choices)
                raise StudyError(f"[space].{name} must not repeat a choice; got {twice}")
        advancing = any(d is not None and d.window.advance for d in self.decodings)
        if advancing and CacheRule.MEAN_QUERY in self.rules:
            raise StudyError(
                "[space].rules has mean-query, which looks at the refresh of each block, and a decoding of "
                "[space].decodings has blocks begin without one (window.advance); leave one of them out"
            )
        if self.size == 1:
            raise StudyError(
                f"the space holds one plan only (threshold {self.thresholds[0]}, format "
                f"{self.formats[0].value}); offer a second choice in [space]"
            )

    @property
    def dials(self) -> dict[str, tuple[Any, ...]]:
        """Choices of each field of a `LayerPlan` that the space varies: add one here to search it."""
        formats = dict.fromkeys(self.linear_groups, self._formats)
        return {"sink_threshold": self.thresholds, **formats, **self.sizes}

    @property
    def foresees(self) -> bool:
        """Whether any decoding foresees passes, so that forecasts must be fitted."""
        return any(one is not None and one.forecast is not None for one in self.decodings)

    @property
    def sizes(self) -> dict[str, tuple[int | None, ...]]:
        """Counts of heads and of channels that layers may keep, by field, where any are offered."""
        return {name: getattr(self, name) for name in self.SIZES if self._varies(name)}

    @property
    def _formats(self) -> tuple[str, ...]:
        return tuple(fmt.value for fmt in self.formats)

    @property
    def plan_dials(self) -> dict[str, tuple[Any, ...]]:
        """Choices of what the whole plan shares, by parameter name: its cache, and its decoding."""
        decoding = {DECODING: self.decodings} if self._varies("decodings") else {}
        return self._cache_dials | decoding

    @property
    def _cache_dials(self) -> dict[str, tuple[Any, ...]]:
        """Choices of the fields of a plan's cache, by parameter name."""
        return {
            f"{WHOLE}{field}": getattr(self, name)
            for field, name in self.CACHE.items()
            if self._varies(name)
        }

    @property
    def needs_calibration(self) -> bool:
        """Whether weights of any plan depend on what linears see of calibration questions."""
        return bool(self.sizes) or self.rounding == "calibrated"

    def _varies(self, name: str) -> bool:
        """Whether a list offers anything but its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

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
        return {**named, "head": self._formats, **self.plan_dials}

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
        dials = self.dials.items()
        for group, span in self.spans.items():
            chosen = {field: _choice(of, params[f"{group}.{field}"]) for field, of in dials}
            layers.extend([LayerPlan.model_validate(chosen)] * len(span))
        head = _choice(self._formats, params["head"])
        return CompressionPlan(
            layers=tuple(layers),
            head=WeightFormat(head),
            decoding=self._decoding(params),
            cache=self._cache(params, layers),
            rounding=self._rounding(layers, head),
        )

    def _rounding(self, layers: Sequence[LayerPlan], head: str) -> Rounding:
        """How weights are rounded; where none is, the default."""
        if self.rounding == "nearest":
            return "nearest"
        formats = {head, *(fmt for layer in layers for fmt in layer.formats.values())}
        return "nearest" if formats == {WeightFormat.FP32} else self.rounding

    def _decoding(self, params: Mapping[str, Any]) -> Decoding | None:
        if DECODING not in self.plan_dials:
            return None
        chosen: Decoding | None = _choice(self.decodings, params[DECODING])
        return chosen

    def _cache(self, params: Mapping[str, Any], layers: Sequence[LayerPlan]) -> CachePolicy:
        """How layers choose positions; where it makes no difference, the default."""
        if all(layer.sink_threshold == 1.0 for layer in layers):
            return CachePolicy()
        dials = self._cache_dials.items()
        chosen = {
            name.removeprefix(WHOLE): _choice(choices, params[name]) for name, choices in dials
        }
        policy = CachePolicy.model_validate(chosen)
        if policy.early_scale == policy.late_scale:
            return policy.model_copy(update={"boundary": CachePolicy().boundary})
        return policy

    def params(self, plan: CompressionPlan) -> dict[str, int]:
        """Parameters of a plan: the inverse of `plan`.

        Choices that make no difference to the plan are the first ones.

        Raises:
            StudyError: the plan is not in the space.
        """
        named: dict[str, int] = {}
        for group, span in self.spans.items():
            for field, choices in self.dials.items():
                value = getattr(plan.layers[span.start], field)
                if value is None and field in SHORT_FORMS:
                    raise StudyError(
                        f"{group}.{field}: {' and '.join(groups_of(field))} differ, and "
                        "[space].linear_groups has them as one"
                    )
                named[f"{group}.{field}"] = _index(choices, value, f"{group}.{field}")
        named["head"] = _index(self._formats, plan.head, "head")
        named |= self._cache_params(plan)
        if DECODING in self.plan_dials:
            named[DECODING] = _index(self.decodings, plan.decoding, DECODING)
        again = self.plan(named)
        if again.layers != plan.layers:
            raise StudyError(f"layers of a group must be alike with groups = {self.groups!r}")
        if again.cache != plan.cache:
            raise StudyError(f"cache must be {again.cache!r}, which is offered; got {plan.cache!r}")
        return named

    def _cache_params(self, plan: CompressionPlan) -> dict[str, int]:
        unused = set()
        if all(layer.sink_threshold == 1.0 for layer in plan.layers):
            unused = set(self._cache_dials)
        elif plan.cache.early_scale == plan.cache.late_scale:
            unused = {f"{WHOLE}boundary"}
        return {
            name: 0
            if name in unused
            else _index(choices, getattr(plan.cache, name.removeprefix(WHOLE)), name)
            for name, choices in self._cache_dials.items()
        }

    def offers(self, plan: CompressionPlan) -> bool:
        """Whether the plan is one of the space."""
        try:
            self.params(plan)
        except StudyError:
            return False
        return True

    def uniform_plans(self) -> Iterator[CompressionPlan]:
        """Every plan that treats all layers, and the head, alike.

        Where heads, channels, the cache or the decoding may be chosen, too, plans of all formats and
        thresholds have the first choice of each; the others come one at a time, with all formats.
        """
        for fmt, threshold in product(self.formats, self.thresholds):
            yield self._uniform(fmt, {"sink_threshold": threshold})
        for decoding, fmt in product(range(1, len(self.decodings)), self.formats):
            yield self._uniform(fmt, {}, decoding)
        for name, counts in self.sizes.items():
            for fmt, count in product(self.formats, counts[1:]):
                yield self._uniform(fmt, {name: count})

    def dropping(self, sinks: SinkProfile) -> dict[float, KeptShares]:
        """What layers keep at each threshold that drops positions, by the first choice of cache."""
        return {
            threshold: sinks.kept_shares(
                self._uniform(self.formats[0], {"sink_threshold": threshold})
            )
            for threshold in self.thresholds
            if threshold < 1.0
        }

    def _uniform(
        self, fmt: WeightFormat, changed: Mapping[str, Any], decoding: int = 0
    ) -> CompressionPlan:
        params: dict[str, Any] = dict.fromkeys(self.parameters(), 0) | {DECODING: decoding}
        params["head"] = fmt.value
        layer = {**dict.fromkeys(self.linear_groups, fmt.value), **changed}
        for group, (field, value) in product(self.spans, layer.items()):
            params[f"{group}.{field}"] = self.dials[field].index(value)
        return self.plan(params)

    @property
    def size(self) -> int:
        """Number of different plans."""
        return prod(len(choices) for choices in self.parameters().values())


def is_uniform(plan: CompressionPlan) -> bool:
    """Whether a plan treats all layers, and the head, alike."""
    first = plan.layers[0]
    return set(plan.layers) == {first} and set(first.formats.values()) == {plan.head}


def _name(span: range) -> str:
    if len(span) == 1:
        return f"layer{span.start}"
    return f"layers{span.start}-{span.stop - 1}"


def _choice(choices: tuple[Any, ...], given: Any) -> Any:
    return choices[given] if isinstance(given, int) else given


def _index(choices: tuple[Any, ...], value: Any, name: str) -> int:
    if value not in choices:
        raise StudyError(f"{name} must be one of {', '.join(map(str, choices))}; got {value}")
    return choices.index(value)
