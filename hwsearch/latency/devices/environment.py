"""What machine a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from hwsearch.files import read_text
from hwsearch.files.kinds import SYSTEM_FILE

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")

#: Instructions that decide how fast, and how exactly, integer products are computed.
_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


def environment() -> dict[str, str]:
    """Processor, cores, system, versions and governor, as far as they can be read."""
    facts = {
        "processor": processor(),
        "instructions": " ".join(instructions()),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": _onnxruntime(),
        "hwsearch": metadata.version("hwsearch") if _installed("hwsearch") else "source",
    }
    if _GOVERNOR.is_file():
        facts["governor"] = read_text(_GOVERNOR, SYSTEM_FILE).strip()
    return facts


def processor() -> str:
    """The processor's name as its maker gives it, or else its architecture."""
    if _CPUINFO.is_file():
        for line in read_text(_CPUINFO, SYSTEM_FILE).splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Those of the processor's instructions that integer products depend on; none where nobody tells."""
    if not _CPUINFO.is_file():
        return []
    lines = read_text(_CPUINFO, SYSTEM_FILE).splitlines()
    told = [line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features"))]
    known = set(told[0].split()) if told else set()
    return [name for name in _INSTRUCTIONS if name in known]


def this_machine() -> str:
    """Processor, cores and instructions, in one line for whoever reads a figure."""
    return f"{processor()}, {os.cpu_count()} cores: {', '.join(instructions()) or 'unknown'}"


def _onnxruntime() -> str:
    """Its version, whichever package brought it."""
    import onnxruntime

    return str(onnxruntime.__version__)


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
