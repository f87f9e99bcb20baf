"""What a plan says of one layer: formats, cached positions, heads, channels and weights that stay."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from hwsearch.errors import PlanError
from hwsearch.schema import MOST_WIDTH, Frozen, OmitsDefaults


class WeightFormat(StrEnum):
    """A bit-width with its arithmetic, because fewer bits alone are often not faster.

    What each is lies in its own file of `hwsearch.formats`; ``hwsearch ls formats`` lists them. Weights in
    blocks share a scale among 32 inputs, or as many as ``g`` says; ``asym`` have a zero point, too.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    FP8 = "fp8"
    W8A8 = "w8a8"
    W8 = "w8"
    W8_G64 = "w8-g64"
    W8_G128 = "w8-g128"
    W4 = "w4"
    W4_G64 = "w4-g64"
    W4_G128 = "w4-g128"
    W4_ASYM = "w4-asym"
    W4_G64_ASYM = "w4-g64-asym"
    W4_G128_ASYM = "w4-g128-asym"
    W2 = "w2"
    W2_G64 = "w2-g64"
    W2_G128 = "w2-g128"
    W2_ASYM = "w2-asym"
    W2_G64_ASYM = "w2-g64-asym"
    W2_G128_ASYM = "w2-g128-asym"


class CacheRule(StrEnum):
    """By what a layer orders its cached positions; see `hwsearch.decoding.rules`.

    ``keep-stable``     positions that are sinks of most passes first.
    ``drop-transient``  the heaviest first, those whose sinkness comes and goes discounted.
    ``mass``            the heaviest first.
    ``mean-query``      nearest to the block's mean query first (Sparse-dLLM).
    ``ar-preserve``     the first tokens, the strongest sinks, then the most recent positions.
    ``recent``          nearest to the block first.
    ``random``          any.
    """

    KEEP_STABLE = "keep-stable"
    DROP_TRANSIENT = "drop-transient"
    MASS = "mass"
    MEAN_QUERY = "mean-query"
    AR_PRESERVE = "ar-preserve"
    RECENT = "recent"
    RANDOM = "random"


class CachePolicy(Frozen):
    """How cached positions are chosen, and how many of them early and late in a generation.

    Attributes:
        rule: what orders the positions.
        running: score positions anew at each refresh; False takes scores calibrated beforehand, which
            a refresh need not compute.
        early_scale: times a layer's kept share while more than `boundary` is unwritten.
        late_scale: times a layer's kept share after that. A scaled share is cut at 1.
        boundary: unwritten share of the generation at which early ends.
    """

    rule: CacheRule = CacheRule.KEEP_STABLE
    running: bool = True
    early_scale: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    late_scale: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    boundary: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5

    def scale(self, refresh: int, refreshes: int) -> float:
        """Factor of the kept shares after one of a generation's refreshes, the first being 0.

        >>> policy = CachePolicy(early_scale=1.2, late_scale=0.5, boundary=0.5)
        >>> [policy.scale(refresh, 4) for refresh in range(4)]
        [1.2, 1.2, 0.5, 0.5]
        """
        unwritten = 1.0 - refresh / refreshes
        return self.early_scale if unwritten > self.boundary else self.late_scale


class WeightPruning(Frozen):
    """How weights, heads and channels are chosen; see `hwsearch.compression.pruning`.

    Attributes:
        method: what makes a weight important.
        sinks: what the rows of sink positions count for in calibration: as much as others (``ignore``),
            less by one score over all layers (``global``, arXiv 2602.17664), less by each layer's own
            score (``layer``), or more, the first tokens too (``preserve``, for autoregressive models).
    """

    method: Literal["random", "magnitude", "wanda", "sparsegpt"] = "wanda"
    sinks: Literal["ignore", "global", "layer", "preserve"] = "layer"


#: How weights become those of their formats: each the nearest, or each linear by what it sees.
Rounding = Literal["nearest", "calibrated"]

#: The linear groups that a short form sets together.
SHORT_FORMS: Final[Mapping[str, tuple[str, str]]] = {
    "attention": ("qkv", "out"),
    "mlp": ("gate_up", "down"),
}

#: The linears of a layer that have one format each, in the order in which a pass runs them.
LINEAR_GROUPS: Final = tuple(group for groups in SHORT_FORMS.values() for group in groups)

_SHORT_OF = {group: short for short, groups in SHORT_FORMS.items() for group in groups}


def _set_by(group: str) -> Any:
    """A format that its own name sets, or else its short form."""
    return Field(default=WeightFormat.FP32, validation_alias=AliasChoices(group, _SHORT_OF[group]))


class LayerPlan(OmitsDefaults):
    """What is done to one layer.

    Two short forms stand for two formats each: ``attention`` sets `qkv` and `out`, ``mlp`` sets
    `gate_up` and `down`. A format that is also named by itself is what that says. Where two are
    alike, the short form is what is written.

    >>> LayerPlan(mlp="w8a8", down="w8").model_dump(mode="json")
    {'sink_threshold': 1.0, 'attention': 'fp32', 'gate_up': 'w8a8', 'down': 'w8'}

    Attributes:
        sink_threshold: 1.0 keeps every cached position; lower keeps only more stable sinks.
        qkv: format of the q, k and v projections, which are one product.
        out: format of the o projection, attention's output.
        gate_up: format of the gate and up projections of the mlp, which are one product.
        down: format of its down projection, whose inputs have the largest outliers.
        kept_heads: key / value heads that stay, each with its query heads; None keeps all.
        kept_channels: inner channels of the mlp that stay; None keeps all.
        sparsity: share of the layer's weights that are zeroed, output by output; or ``"2:4"``, which
            keeps 2 of each 4 neighbouring inputs; None zeroes none.
    """

    sink_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    qkv: WeightFormat = _set_by("qkv")
    out: WeightFormat = _set_by("out")
    gate_up: WeightFormat = _set_by("gate_up")
    down: WeightFormat = _set_by("down")
    kept_heads: Annotated[int, Field(ge=1, le=MOST_WIDTH)] | None = None
    kept_channels: Annotated[int, Field(ge=1, le=MOST_WIDTH)] | None = None
    sparsity: float | str | None = None

    #: The fields that say which weights go.
    PRUNING: ClassVar[tuple[str, ...]] = ("kept_heads", "kept_channels", "sparsity")
    _omitted_defaults = frozenset(PRUNING)

    @field_validator("sparsity")
    @classmethod
    def _sparse(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str):
            kept_of(value)
        elif value is not None and not 0.0 <= value < 1.0:
            raise ValueError("a share of zeroed weights must be at least 0 and below 1")
        return value

    @model_validator(mode="before")
    @classmethod
    def _names_once(cls, data: Any) -> Any:
        for short, groups in SHORT_FORMS.items():
            if isinstance(data, dict) and {short, *groups} <= data.keys():
                raise ValueError(
                    f"{short} sets {' and '.join(groups)}, which are named; leave it out"
                )
        return data

    @model_serializer(mode="wrap")
    def _omit(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return shortened(self._without_defaults(handler(self)))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, which are not validated; short forms set both of theirs."""
        changes = dict(update or {})
        for short, groups in SHORT_FORMS.items():
            if short in changes:
                changes = dict.fromkeys(groups, changes.pop(short)) | changes
        return super().model_copy(update=changes, deep=deep)

    @property
    def attention(self) -> WeightFormat | None:
        """Format of the q, k, v and o projections; None where `qkv` and `out` differ."""
        return self.qkv if self.qkv == self.out else None

    @property
    def mlp(self) -> WeightFormat | None:
        """Format of the gate, up and down projections; None where `gate_up` and `down` differ."""
        return self.gate_up if self.gate_up == self.down else None

    @property
    def formats(self) -> dict[str, WeightFormat]:
        """The format of each of `LINEAR_GROUPS`, by short forms where two are alike."""
        return shortened({group: getattr(self, group) for group in LINEAR_GROUPS})

    def format_of(self, group: str) -> WeightFormat:
        """The one format of linears that a network names as one group, by a short form or by itself.

        Raises:
            PlanError: `group` is a short form, and its two formats differ.
        """
        found = {name: WeightFormat(getattr(self, name)) for name in groups_of(group)}
        first, *others = found.values()
        if any(fmt != first for fmt in others):
            told = ", ".join(f"{name} is {fmt.value}" for name, fmt in found.items())
            raise PlanError(
                f"the network names {group} as one, so {' and '.join(found)} must be alike ({told}); "
                "give them one format, or name them apart in the network's linear_groups"
            )
        return first

    @property
    def prunes(self) -> bool:
        """Whether any weight goes."""
        return any(getattr(self, name) is not None for name in self.PRUNING)


def shortened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, those of `LINEAR_GROUPS` under their short form where both are there and alike.

    >>> shortened({"qkv": "w8", "out": "w8", "gate_up": "w8", "down": "w4", "kept_heads": 1})
    {'attention': 'w8', 'gate_up': 'w8', 'down': 'w4', 'kept_heads': 1}
    """
    alike = {
        group: short
        for short, (first, second) in SHORT_FORMS.items()
        if {first, second} <= values.keys() and values[first] == values[second]
        for group in (first, second)
    }
    return {alike.get(name, name): value for name, value in values.items()}


def groups_of(name: str) -> tuple[str, ...]:
    """The linear groups that a name stands for: two of a short form, else itself.

    >>> groups_of("mlp"), groups_of("down")
    (('gate_up', 'down'), ('down',))
    """
    return SHORT_FORMS.get(name, (name,))


def short_of(name: str) -> str:
    """The short form that a linear group belongs to; a short form is its own.

    >>> short_of("down"), short_of("mlp")
    ('mlp', 'mlp')
    """
    return _SHORT_OF.get(name, name)


def format_words(formats: Mapping[str, str], short: str) -> str:
    """What `LayerPlan.formats` say of a short form, for people to read.

    >>> formats = LayerPlan(attention="w8", gate_up="w8a8").formats
    >>> format_words(formats, "attention"), format_words(formats, "mlp")
    ('w8', 'gate_up w8a8, down fp32')
    """
    if short in formats:
        return str(formats[short])
    return ", ".join(f"{group} {formats[group]}" for group in SHORT_FORMS[short])


def kept_of(pattern: str) -> tuple[int, int]:
    """N and M of a pattern ``"N:M"``.

    >>> kept_of("2:4")
    (2, 4)

    Raises:
        ValueError: it is no pattern, or N is not in 1..M.
    """
    kept, _, group = pattern.partition(":")
    if not (kept.isdigit() and group.isdigit() and 1 <= int(kept) <= int(group)):
        raise ValueError('a pattern is "N:M" with 1 <= N <= M, such as "2:4"')
    return int(kept), int(group)
