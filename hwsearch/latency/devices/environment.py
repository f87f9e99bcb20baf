"""What machine a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")


def environment() -> dict[str, str]:
    """Processor, cores, system, versions and governor, as far as they can be read."""
    facts = {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": metadata.version("onnxruntime"),
        "hwsearch": metadata.version("hwsearch") if _installed("hwsearch") else "source",
    }
    if _GOVERNOR.is_file():
        facts["governor"] = _GOVERNOR.read_text(encoding="utf-8").strip()
    return facts


def processor() -> str:
    """The processor's name as its maker gives it, or else its architecture."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
