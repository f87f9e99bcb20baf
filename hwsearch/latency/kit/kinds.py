"""What a kit can be for: the runtime that it times, what runs it, and what it must say of the machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwsearch.latency.timing.operator_times import BATCH_BYTES
from hwsearch.runtime.providers import CPU, WEB, Provider
from hwsearch.runtime.web import write_kit_scripts

_SCRIPT: Final = Path(__file__).with_name("script.py")


@dataclass(frozen=True)
class KitKind:
    """One kind of kit.

    Attributes:
        name: as flags spell it.
        provider: what its graphs are written for, and its device will be of.
        command: what to type in its folder on the device.
        engine: what the head of its results calls that which ran it there.
        batch_bytes: float weights of the graphs that are open at once.
        write: writes its scripts into its folder.
    """

    name: str
    provider: Provider
    command: str
    engine: str
    batch_bytes: float
    write: Callable[[Path], None]


def _write_script(folder: Path) -> None:
    shutil.copyfile(_SCRIPT, folder / "measure.py")


PYTHON_KIT: Final = KitKind(
    "onnxruntime", CPU, "python measure.py", "python", BATCH_BYTES, _write_script
)

#: Half as much at once: all that wasm addresses are 4 GiB, and products hold their weights twice at first.
WEB_KIT: Final = KitKind(
    "onnxruntime-web",
    WEB,
    "npm install && node measure.mjs",
    "engine",
    BATCH_BYTES / 2,
    write_kit_scripts,
)

#: All of them, by name.
KIT_KINDS: Final = {kind.name: kind for kind in (PYTHON_KIT, WEB_KIT)}

#: All of them, by the runtime that the head of results names.
KINDS_BY_RUNTIME: Final = {kind.provider.name: kind for kind in KIT_KINDS.values()}
