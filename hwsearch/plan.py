"""The compression plan: the one value that is searched, timed, scored, exported and drawn.

A plan is pure data. It says what is done to each layer and how text is decoded; it holds no
weights and names no model. Two plans that say the same are equal and hash the same.

    >>> plan = CompressionPlan.uniform(2, attention="w8a8", mlp="w8a8", sink_threshold=0.5)
    >>> CompressionPlan.from_json(plan.to_json()) == plan
    True
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hwsearch.errors import PlanError
from hwsearch.schema import Frozen, OmitsDefaults, explain

SCHEMA_VERSION: Final = 1


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


class CommitRule(StrEnum):
    """Which masks of a block a pass writes.

    The first two are LLaDA's (arXiv 2502.09992): as many tokens in every pass, the most certain
    ones or any. The others are Dream's (arXiv 2508.15487), whose passes write the share of the
    masks that ``linspace(1, 1e-3, steps + 1)`` leaves behind; Dream itself has a single block.

    ``low_confidence``  the most probable tokens.
    ``random``          any.
    ``origin``          each mask with the pass's share as its chance, whatever the prediction.
    ``maskgit_plus``    the most probable tokens.
    ``topk_margin``     where the most probable token is furthest ahead of the second.
    ``entropy``         where the distribution has least entropy.
    """

    LOW_CONFIDENCE = "low_confidence"
    RANDOM = "random"
    ORIGIN = "origin"
    MASKGIT_PLUS = "maskgit_plus"
    TOPK_MARGIN = "topk_margin"
    ENTROPY = "entropy"


class Decoding(OmitsDefaults):
    """How text is written: lengths, passes, and how often the cache is refreshed.

    Attributes:
        gen_length: tokens to write.
        block_length: tokens written together, left to right block by block.
        steps: denoising passes over the whole generation.
        refresh_interval: passes from one refresh of the cache to the next; a block always begins
            with one. 1 refreshes every pass, which is LLaDA's sampler without any cache.
        rule: which masks a pass writes.
        temperature: of the noise with which tokens are drawn; 0 takes the most probable ones.
    """

    gen_length: Annotated[int, Field(ge=1)]
    block_length: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)]
    refresh_interval: Annotated[int, Field(ge=1)]
    rule: CommitRule = CommitRule.LOW_CONFIDENCE
    temperature: Annotated[float, Field(ge=0.0)] = 0.0

    # studies are known by the text of their decoding, which must stay as it was without these
    _omitted_defaults = frozenset({"rule", "temperature"})

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.gen_length % self.block_length:
            raise ValueError(
                f"gen_length {self.gen_length} must be a multiple of "
                f"block_length {self.block_length}"
            )
        if self.steps % self.num_blocks or self.steps_per_block > self.block_length:
            raise ValueError(
                f"steps {self.steps} must be a multiple of the {self.num_blocks} blocks "
                f"and at most gen_length {self.gen_length}"
            )
        return self

    @property
    def num_blocks(self) -> int:
        """Blocks in a generation."""
        return self.gen_length // self.block_length

    @property
    def steps_per_block(self) -> int:
        """Passes over each block."""
        return self.steps // self.num_blocks

    @property
    def refreshes(self) -> int:
        """Refresh passes in a generation."""
        return self.num_blocks * -(-self.steps_per_block // self.refresh_interval)


class CompressionPlan(OmitsDefaults):
    """A whole plan.

    Attributes:
        layers: one `LayerPlan` for each layer of the model, first layer first.
        head: format of the output head.
        decoding: how text is decoded; None leaves it to the model's own default.
        cache: which cached positions layers with a threshold below 1 keep.
        pruning: which weights go, where layers prune any.
        schema_version: version of this schema.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    layers: Annotated[tuple[LayerPlan, ...], Field(min_length=1)]
    head: WeightFormat = WeightFormat.FP32
    decoding: Decoding | None = None
    cache: CachePolicy = CachePolicy()
    pruning: WeightPruning = WeightPruning()

    _omitted_defaults = frozenset({"cache", "pruning"})

    @classmethod
    def uniform(
        cls,
        num_layers: int,
        attention: str = "fp32",
        mlp: str = "fp32",
        sink_threshold: float = 1.0,
        **rest: Any,
    ) -> CompressionPlan:
        """The plan that treats every layer alike; with no further argument, the uncompressed one."""
        layer = {"sink_threshold": sink_threshold, "attention": attention, "mlp": mlp}
        layer |= {name: rest.pop(name) for name in LayerPlan.PRUNING if name in rest}
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
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise PlanError(f"plan: {explain(error)}") from error

    @classmethod
    def read(cls, path: Path) -> CompressionPlan:
        """A plan from a JSON file. Raises `PlanError`, naming the file."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanError(f"cannot read plan {path}: {error.strerror}") from error
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from error

    def to_json(self) -> str:
        """The plan as indented JSON text."""
        return self.model_dump_json(indent=2)
