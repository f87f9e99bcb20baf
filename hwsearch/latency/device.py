"""A device: a folder of `latency_tables/` with what it is, how it was timed, and how far to trust it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from hwsearch.errors import TableError, UnknownNameError
from hwsearch.latency.table import LatencyTable
from hwsearch.plan import Frozen, explain

PACKAGED = Path(__file__).parents[1] / "latency_tables"
CHECKOUT = Path(__file__).parents[2] / "latency_tables"


class Provenance(StrEnum):
    """Where a device's milliseconds come from. Never mixed silently."""

    MEASURED = "measured"
    PUBLISHED = "published"
    MODELLED = "modelled"


class Line(Frozen):
    """Pass time ``intercept_ms + slope * sum of operators``, fitted on whole-model runs.

    Attributes:
        intercept_ms: milliseconds a pass costs beside its operators.
        slope: what a summed millisecond is worth end to end.
        mape: mean absolute error of the fit on the plans it was made from, as a share.
        plans: how many plans that was.
    """

    intercept_ms: float
    slope: Annotated[float, Field(gt=0)]
    mape: Annotated[float, Field(ge=0)]
    plans: Annotated[int, Field(ge=2)]


class Calibration(Frozen):
    """How operator sums become pass times, for one model's geometry and workload."""

    model: str
    refresh: Line
    step: Line


class DeviceInfo(Frozen):
    """What `device.toml` says.

    Attributes:
        name: the folder's name.
        provenance: measured, published or modelled.
        description: the hardware, in words.
        runtime: which runtime timed the table, e.g. ``onnxruntime-cpu``; also the CSV's name.
        threads: threads the runtime used.
        environment: versions and settings at the time of timing.
        calibrations: one entry for each model that was run whole.
    """

    name: str
    provenance: Provenance
    description: str
    runtime: str
    threads: Annotated[int, Field(ge=1)]
    environment: dict[str, str] = Field(default_factory=dict)
    calibrations: tuple[Calibration, ...] = ()

    def calibration(self, model: str) -> Calibration | None:
        """The calibration made with this model, if there is one."""
        return next((c for c in self.calibrations if c.model == model), None)


@dataclass(frozen=True, eq=False)
class Device:
    """A device and its table."""

    info: DeviceInfo
    table: LatencyTable
    folder: Path


def tables_folders() -> list[Path]:
    """Folders that devices are looked for in, the user's first."""
    candidates = [Path("latency_tables"), CHECKOUT, PACKAGED]
    found = {folder.resolve(): folder for folder in candidates if folder.is_dir()}
    return list(found.values())


def device_folders() -> dict[str, Path]:
    """Every known device and its folder; a user's device hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in tables_folders():
        for entry in sorted(folder.iterdir()):
            if (entry / "device.toml").is_file():
                found.setdefault(entry.name, entry)
    return found


def load_device(name: str | Path) -> Device:
    """A device by name, or by the path of its folder.

    Raises:
        UnknownNameError: no such device.
        TableError: `device.toml` or the table is malformed.
    """
    folder = Path(name)
    if not (folder / "device.toml").is_file():
        known = device_folders()
        if str(name) not in known:
            hint = "time this machine with: hwsearch profile --device NAME --model MODEL"
            raise UnknownNameError("device", str(name), known, hint)
        folder = known[str(name)]
    info = read_info(folder / "device.toml")
    return Device(info, LatencyTable.read(folder / f"{info.runtime}.csv"), folder)


def read_info(path: Path) -> DeviceInfo:
    """Read and check a `device.toml`. Raises `TableError`, naming the key."""
    try:
        return DeviceInfo.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TableError(f"cannot read {path}: {error}") from error
    except ValidationError as error:
        raise TableError(f"{path}: {explain(error)}") from error


def write_info(info: DeviceInfo, path: Path) -> None:
    """Write a `device.toml`."""
    import tomli_w

    path.write_text(tomli_w.dumps(info.model_dump(mode="json")), encoding="utf-8")
