"""The runtimes that a table's times may be of: their names, what they load, and what times them.

A device is a machine with the runtime that will run the bundle; the same chip under another runtime is
another device. ``device.toml`` names its runtime as it is spelt here, and its table is called so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hwsearch.errors import UnknownNameError
from hwsearch.runtime.providers import CPU, PROVIDERS, Provider


class Engine(StrEnum):
    """What times a runtime here."""

    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


@dataclass(frozen=True)
class TimedRuntime:
    """A runtime as a latency table knows it.

    Attributes:
        name: as files and flags spell it.
        engine: what times it here; None where its times come from others, or from a kit.
        formats: formats of products that it loads, the least compressed first; empty where each
            device's own table says so. Which of them a machine really runs is tried before timing.
        processor: where torch puts it, ``cpu`` or ``cuda``; empty where the engine has no choice.
    """

    name: str
    engine: Engine | None = None
    formats: tuple[str, ...] = ()
    processor: str = ""


def _timed(provider: Provider) -> TimedRuntime:
    formats = tuple(fmt.value for fmt in provider.formats)
    return TimedRuntime(provider.name, None if provider.elsewhere else Engine.ONNXRUNTIME, formats)


ONNXRUNTIME_CPU: Final = _timed(CPU)
_TORCH_FORMATS = ("fp32", "fp16", "w8a8", "w8", "w4", "fp8", "fp16-2:4")
TORCH_CUDA: Final = TimedRuntime("torch-cuda", Engine.TORCH, _TORCH_FORMATS, "cuda")
TORCH_CPU: Final = TimedRuntime("torch-cpu", Engine.TORCH, _TORCH_FORMATS, "cpu")

#: Every runtime that a device of this package may be of. Tables of others load too; they are only read.
RUNTIMES: Final[dict[str, TimedRuntime]] = {
    runtime.name: runtime
    for runtime in (
        ONNXRUNTIME_CPU,
        *(_timed(provider) for provider in PROVIDERS.values() if provider is not CPU),
        TORCH_CUDA,
        TORCH_CPU,
        TimedRuntime("executorch-xnnpack"),
        TimedRuntime("ik_llama.cpp-cpu"),
        TimedRuntime("llama.cpp-cpu"),
        TimedRuntime("llama.cpp-cuda"),
        TimedRuntime("llama.cpp-metal"),
    )
}

#: Those that `hwsearch profile` can time, by name.
TIMED_HERE: Final = {name: runtime for name, runtime in RUNTIMES.items() if runtime.engine}


def timed_runtime(name: str) -> TimedRuntime:
    """A runtime that can be timed here, by name.

    >>> timed_runtime("torch-cpu").processor
    'cpu'

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in TIMED_HERE:
        raise UnknownNameError("runtime", name, TIMED_HERE)
    return TIMED_HERE[name]
