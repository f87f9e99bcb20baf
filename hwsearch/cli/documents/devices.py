"""Documents of devices: profile, predict."""

from __future__ import annotations

from typing import Any

from hwsearch.cli.documents.base import Document, Interval, LayerFormats, Numbers
from hwsearch.latency.devices.device import DeviceInfo, Power


class DeviceDocument(Document):
    """A device that was timed or imported."""

    device: DeviceInfo
    operators: int
    folder: str


class KitDocument(Document):
    """With ``--kit``: what times a device without hwsearch."""

    kit: str
    command: str
    operators: int
    whole_models: int
    whole_layers: int
    model_layers: int | None


class LlamaKitDocument(Document):
    """With ``--kit --for llama.cpp``."""

    kit: str
    script: str
    models: Any


class ProfileDryRunDocument(Document):
    """With ``--dry-run``: what a torch runtime would time."""

    operators: int
    plans: int
    left_out: Any
    estimate_s: float | None
    lines: list[str]


class PredictedPercentiles(Document):
    """10th and 90th percentile of each time, in milliseconds."""

    refresh: Interval
    step: Interval
    generation: Interval


class PredictedLayer(LayerFormats):
    """A layer of a plan, and its share of the time."""

    kept_share: float
    kept_heads: int | None
    kept_channels: int | None
    ms: float
    refresh_ms: float
    step_ms: float
    percentiles_10_90_ms: Interval | None


class PredictDocument(Document):
    """What a plan takes on a device, and what it is spent on."""

    device: str
    provenance: str
    calibrated: bool
    prompt_length: int
    suffix_length: int | None = None
    generation_ms: float
    refresh_ms: float
    step_ms: float
    percentiles_10_90_ms: PredictedPercentiles | None
    generation_joules: float | None
    power: Power | None
    binding: dict[str, str] | None
    where: dict[str, Numbers]
    decoding: str
    passes: Numbers
    problems_10_90_ms: Interval
    forecast_priced: bool
    tokens: float | None
    tokens_per_second: float | None
    tokens_per_pass: float | None
    arithmetic_energy: dict[str, float | str]
    layers: list[PredictedLayer]
