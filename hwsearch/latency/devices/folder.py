"""Write a device's folder whole or not at all, and keep what was timed of an unfinished one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from hwsearch.errors import InputError, TableError
from hwsearch.files import FileKind, read_json, recover_folder, refuse_existing, whole_folder
from hwsearch.files.kinds import MIB
from hwsearch.latency.devices.device import DeviceInfo, write_info
from hwsearch.latency.devices.table import LatencyTable, Samples

#: What must be the same for timings to stand in one table.
SAME = ("processor", "system", "onnxruntime", "torch", "threads", "governor")


def check_device_name(name: str) -> None:
    """Refuse a device's name that is no plain folder name. Raises `InputError`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(
            f"a device's name must be letters, digits, dots, dashes and underscores, and begin with "
            f"a letter or digit, since its folder is called so; got {name!r}"
        )


def check_new(folder: Path, overwrite: bool) -> None:
    """Refuse to replace a device unless that is asked for. Raises `InputError`."""
    recover_folder(folder)
    refuse_existing(folder, overwrite, "another --device")


def write_device(
    info: DeviceInfo,
    table: LatencyTable,
    out: Path,
    beside: Mapping[str, pd.DataFrame] | None = None,
) -> Path:
    """Write ``out/NAME`` whole or not at all; one that is there is replaced.

    Args:
        info: for `device.toml`.
        table: the samples.
        out: folder of devices.
        beside: further CSV files by name.

    Returns:
        The folder.
    """
    with whole_folder(out / info.name, "replace") as fresh:
        table.write(fresh / f"{info.runtime}.csv")
        counted = info.model_copy(update=counts(table))
        write_info(counted, fresh / "device.toml")
        for name, frame in (beside or {}).items():
            frame.to_csv(fresh / name, index=False)
    return out / info.name


def write_published(info: DeviceInfo, out: Path) -> Path:
    """The same for a device without a table, which has a roofline."""
    with whole_folder(out / info.name, "replace") as fresh:
        write_info(info, fresh / "device.toml")
    return out / info.name


def counts(table: LatencyTable) -> dict[str, object]:
    """What `device.toml` keeps of a table, so that a changed one is noticed."""
    return {"samples": table.count(), "total_us": table.total_us()}


class Journal:
    """What was timed of a device whose profile is not finished, in ``out/.NAME.unfinished``.

    Args:
        out: folder of devices.
        name: the device.
        facts: environment and threads; samples of another machine are not taken over.
    """

    def __init__(self, out: Path, name: str, facts: dict[str, str]) -> None:
        self.folder = out / f".{name}.unfinished"
        self._facts = facts

    def read(self) -> Samples:
        """Samples of the run before; none where there was none.

        Raises:
            InputError: they were taken on another machine, or with other settings.
            TableError: they cannot be read.
        """
        if not (self.folder / "samples.csv").is_file():
            return {}
        fix = f"delete {self.folder} to begin anew"
        kind = FileKind("environment", MIB, TableError, fix)
        before = read_json(self.folder / "environment.json", kind)
        if not isinstance(before, dict):
            raise kind.refuse(self.folder, "environment.json must hold an object")
        check_same(before, self._facts, str(self.folder), fix, (*SAME, "hwsearch"))
        return LatencyTable.read(self.folder / "samples.csv").samples

    def keep(self, table: LatencyTable) -> None:
        """Write all samples so far; a run that is killed meanwhile leaves the earlier ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts, samples = self.folder / "environment.part", self.folder / "samples.part"
        facts.write_text(json.dumps(self._facts, indent=2), encoding="utf-8")
        facts.replace(self.folder / "environment.json")
        table.write(samples)
        samples.replace(self.folder / "samples.csv")

    def remove(self) -> None:
        """Forget it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def check_same(
    before: dict[str, str],
    now: dict[str, str],
    where: str,
    fix: str,
    facts: Sequence[str] = SAME,
) -> None:
    """Refuse to mix timings of two machines or settings. Raises `InputError`."""
    for fact in facts:
        if before.get(fact) != now.get(fact):
            raise InputError(
                f"{where} was timed with {fact} {before.get(fact)!r}, and this is "
                f"{now.get(fact)!r}; timings of one table must share it: {fix}"
            )
