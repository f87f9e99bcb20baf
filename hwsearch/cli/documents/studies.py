"""Documents of studies: demo, search, front, compare."""

from __future__ import annotations

from typing import Any

from hwsearch.cli.documents.base import Document, Interval
from hwsearch.plan import CompressionPlan


class Trial(Document):
    """A finished trial: loss in nats, predicted time and energy, bytes of weights."""

    number: int
    loss: float
    generation_ms: float
    generation_joules: float | None
    size_bytes: int


class PlannedTrial(Trial):
    """A trial and its plan."""

    plan: CompressionPlan


class FailedTrial(Document):
    """A trial whose plan has no loss."""

    number: int
    reason: str


class FoundByFinalists(Document):
    """How the best plans answered real problems."""

    split: str
    problems: int
    winner: int
    finalists: list[dict[str, Any]]
    target_ms: float | None = None
    trials: int | None = None


class SearchDocument(Document):
    """What a search found."""

    study: str
    objective: str
    target_ms: float
    target_joules: float | None
    max_joules: float | None
    trials: int
    stopped_early: int
    failed: list[FailedTrial]
    finalists: FoundByFinalists | None
    noise: float | None
    tied_with_uniform: bool | None
    best: PlannedTrial
    best_uniform: Trial | None


class DryRunDocument(Document):
    """With ``--dry-run``: the study as TOML, and lines about what it would take."""

    study: str
    forecast: list[str]


class FrontRow(PlannedTrial):
    """A plan that no other one beats in both loss and cost."""

    passes: float
    feasible: bool
    uniform: bool
    uniform_loss: float | None
    noise: float | None
    tied: list[int]
    tied_choice: int | None


class TargetDocument(Document):
    """With a target: the best plan known for it; `loss_is` evaluated or predicted."""

    study: str
    target_ms: float
    target_joules: float | None
    plan: CompressionPlan
    generation_ms: float
    generation_joules: float | None
    size_bytes: int
    loss: float
    loss_is: str
    spread: float
    trial: int | None
    uniform_loss: float | None
    noise: float | None
    tied: list[int]


class ComparedDevice(Document):
    """One device of a comparison."""

    device: str
    runtime: str
    provenance: str
    calibrated: bool
    note: str | None
    uncompressed: float
    target: float
    runs: int
    best: str | None
    best_plan: CompressionPlan | None
    loss_is: str | None


class CompareDocument(Document):
    """Plans on several devices; `cross` has each device's best plan on all others, by device."""

    title: str
    target_ratio: float
    unit: str
    devices: list[ComparedDevice]
    unpriced: list[dict[str, Any]]
    cross: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    remarks: list[str]


class Difference(Document):
    """One accuracy minus another, paired, in shares."""

    accuracy_difference: float
    interval: Interval
    p_value: float


class Lever(Document):
    """What one step of compression brings."""

    name: str
    title: str
    decoding: str
    measured_passes: float
    measured_ms: float
    tokens_per_second: float
    accuracy: float
    accuracy_interval: Interval
    times_faster: float


class DemoDocument(Document):
    """What the demo found: three bundles, measured and scored side by side."""

    target_ms: float
    target_ratio: float
    target_reason: str
    fastest_uniform_ratio: float
    target_met: bool
    trials: int
    baseline: dict[str, Any]
    best_uniform: dict[str, Any]
    winner: dict[str, Any]
    waterfall: list[Lever]
    winner_against_best_uniform: Difference
    winner_against_baseline: Difference
    bundle: str


class ReportDocument(Document):
    """A page that was written; `missing` says by figure why it is not in it."""

    path: str
    address: str
    size_bytes: int
    figures: list[str]
    missing: dict[str, str]
    pictures: list[str]
