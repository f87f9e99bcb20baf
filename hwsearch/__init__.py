"""hwsearch: which layers may drop which cached positions, and at which bit-width should each run?

It takes a masked-diffusion language model, a device and a latency target, finds the compression
plan that loses least accuracy within the target on that device, and exports it as ONNX files.

    >>> import hwsearch as hw
    >>> hw.CompressionPlan.uniform(2, attention="w8a8").layers[0].mlp.value
    'fp32'

Names are loaded when they are first used, so importing hwsearch imports neither torch nor optuna.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from hwsearch._version import __version__

if TYPE_CHECKING:
    from hwsearch.denoisers.loading.loader import load_denoiser
    from hwsearch.jobs.exporting import export
    from hwsearch.jobs.reporting import write_report
    from hwsearch.jobs.verification import verify
    from hwsearch.latency.devices.device import load_device
    from hwsearch.plan import CompressionPlan, Decoding, LayerPlan, WeightFormat
    from hwsearch.runtime import Runtime
    from hwsearch.study import SearchSpace, Study, load_study, search

__all__ = [
    "CompressionPlan",
    "Decoding",
    "LayerPlan",
    "Runtime",
    "SearchSpace",
    "Study",
    "WeightFormat",
    "__version__",
    "export",
    "load_denoiser",
    "load_device",
    "load_study",
    "search",
    "verify",
    "write_report",
]

_HOMES = {
    "CompressionPlan": "hwsearch.plan",
    "Decoding": "hwsearch.plan",
    "LayerPlan": "hwsearch.plan",
    "WeightFormat": "hwsearch.plan",
    "load_denoiser": "hwsearch.denoisers.loading.loader",
    "load_device": "hwsearch.latency.devices.device",
    "Runtime": "hwsearch.runtime",
    "SearchSpace": "hwsearch.study",
    "Study": "hwsearch.study",
    "load_study": "hwsearch.study",
    "search": "hwsearch.study",
    "export": "hwsearch.jobs.exporting",
    "verify": "hwsearch.jobs.verification",
    "write_report": "hwsearch.jobs.reporting",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hwsearch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
