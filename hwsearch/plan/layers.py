"""What a plan says of one layer: formats, cached positions, heads, channels and weights that stay."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from hwsearch.schema import Frozen, OmitsDefaults


class WeightFormat(StrEnum):
    """A bit-width with its arithmetic, because fewer bits alone are often not faster.

    What each is lies in its own file of `hwsearch.formats`; ``hwsearch ls formats`` lists them.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    W8A8 = "w8a8"
    W8 = "w8"
    W4 = "w4"


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
    early_scale: Annotated[float, Field(gt=0.0)] = 1.0
    late_scale: Annotated[float, Field(gt=0.0)] = 1.0
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


class LayerPlan(OmitsDefaults):
    """What is done to one layer.

    Attributes:
        sink_threshold: 1.0 keeps every cached position; lower keeps only more stable sinks.
        attention: format of the q, k, v and o projections together.
        mlp: format of the gate, up and down projections together.
        kept_heads: key / value heads that stay, each with its query heads; None keeps all.
        kept_channels: inner channels of the mlp that stay; None keeps all.
        sparsity: share of the layer's weights that are zeroed, output by output; or ``"2:4"``, which
            keeps 2 of each 4 neighbouring inputs; None zeroes none.
    """

    sink_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    attention: WeightFormat = WeightFormat.FP32
    mlp: WeightFormat = WeightFormat.FP32
    kept_heads: Annotated[int, Field(ge=1)] | None = None
    kept_channels: Annotated[int, Field(ge=1)] | None = None
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

    @property
    def prunes(self) -> bool:
        """Whether any weight goes."""
        return any(getattr(self, name) is not None for name in self.PRUNING)


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
