"""Documents of models: ls, inspect, sinks, baselines, evaluate, proxies, analytical."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from hwsearch.cli.documents.base import Document, Interval, LayerFormats, Numbers


class Listed(Document):
    """One thing that a flag can name; which keys it has depends on what is listed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str
    folder: str | None = None
    file: str | None = None
    kind: str | None = None
    provenance: str | None = None
    held_out_error: str | None = Field(None, alias="held-out error")
    runtime: str | None = None
    description: str | None = None
    numbers: str | None = None
    offered: str | None = None
    why_not: str | None = Field(None, alias="why not")


class InspectedLayer(LayerFormats):
    """A layer of a plan, its bytes and its work."""

    kept_heads: int
    kept_channels: int
    size_bytes: int
    work_flop: int


class InspectedPlan(Document):
    """Bytes and work of a plan."""

    size_bytes: int
    layers: list[InspectedLayer]


class InspectDocument(Document):
    """Sizes of a model; `bytes` of all its weights by format."""

    geometry: dict[str, int | float | bool]
    parameters: dict[str, int]
    bytes: dict[str, int]
    work_flop: dict[str, int]
    plan: InspectedPlan | None = None


class SinksDocument(Document):
    """Where a model's sinks are, how heavy and how stable; and what is claimed of them, answered."""

    sinks: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    page: str


class BaselineDocument(Document):
    """A pruning method at one share; differences are the sink-aware method's minus its own."""

    family: str
    method: str
    share: float
    problems: int
    solved: int | None
    accuracy: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    kl: float
    speed_up: float | None
    size_bytes: int


class EvaluateDocument(Document):
    """A score in the layout of lm-evaluation-harness, and what hwsearch adds."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    results: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    versions: dict[str, Any]
    n_shot: dict[str, int] = Field(alias="n-shot")
    higher_is_better: dict[str, dict[str, bool]]
    n_samples: dict[str, dict[str, int]] = Field(alias="n-samples")
    config: dict[str, Any]
    chat_template: str | None
    chat_template_sha: str | None
    fewshot_as_multiturn: bool
    passes: Numbers
    total_evaluation_time_seconds: float


class ProxyDocument(Document):
    """How one loss ranks plans by accuracy."""

    proxy: str
    plans: int
    cost_passes: float
    seconds: float
    spearman: float
    spearman_interval: Interval
    kendall: float
    kendall_interval: Interval
    behind_interval: Interval


class AnalyticalDocument(Document):
    """Diffusion computed from data: what is averaged at each level of noise, how near, how quick."""

    data: str
    points: int
    size: int
    method: str
    schedule: str
    samples: int
    concentration: list[Numbers]
    agreement: list[Numbers]
    cost: list[Numbers]
    files: list[str]
