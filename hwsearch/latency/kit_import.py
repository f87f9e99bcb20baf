"""Results that a kit brought back: checked from top to bottom, then a device."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from hwsearch.errors import InputError, TableError
from hwsearch.latency.device import Device, DeviceInfo, Provenance, load_device
from hwsearch.latency.folder import write_device
from hwsearch.latency.table import LatencyTable
from hwsearch.latency.table_csv import check_columns, check_order, check_rows, samples_of

FIRST_LINE = "# hwsearch kit results, version 1"

#: What the head of the results must say of the machine and the run.
PROVENANCE = ("processor", "system", "python", "onnxruntime", "threads")
COUNTS = ("threads", "operators", "sessions", "rounds", "elapsed_s", "sum_us")


def import_results(
    path: Path, name: str, out: Path, *, description: str | None = None, overwrite: bool = False
) -> Device:
    """A device from what a kit's script wrote; the folder is written whole or not at all.

    Args:
        path: the results.
        name: the device's name.
        out: folder of devices.
        description: the hardware in words; None takes the processor's name.
        overwrite: replace a device of the same name.

    Raises:
        TableError: the results are not whole, not in order, impossible, or do not say what
            machine they are of; the message names the row.
        InputError: the device exists and `overwrite` is false.
    """
    if (out / name).exists() and not overwrite:
        raise InputError(f"{out / name} exists already; give another --device, or --overwrite")
    head, frame = read_results(path)
    info = DeviceInfo(
        name=name,
        provenance=Provenance.MEASURED,
        description=description or head["processor"],
        runtime="onnxruntime-cpu",
        threads=int(head["threads"]),
        environment={key: value for key, value in head.items() if key not in COUNTS},
        caveats=("timed by a kit: no whole model was run, so sums are not calibrated",),
    )
    return load_device(write_device(info, LatencyTable(samples_of(frame), str(path)), out))


def read_results(path: Path) -> tuple[dict[str, str], pd.DataFrame]:
    """Head and samples of the results. Raises `TableError` as `import_results` does."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"cannot read results {path}: {error}") from error
    if not lines or lines[0] != FIRST_LINE:
        raise TableError(f"{path}, row 1: results of a kit begin with {FIRST_LINE!r}")
    comments = [line for line in lines if line.startswith("#")]
    head = dict(line[1:].strip().partition(": ")[::2] for line in comments[1:])
    _check_head(head, path)
    body = "\n".join(lines[len(comments) :])
    try:
        frame = pd.read_csv(io.StringIO(body))
    except ValueError as error:
        raise TableError(f"{path}: no samples after the head ({error})") from error
    check_columns(list(map(str, frame.columns)), path)
    _check_count(head, frame, path)
    first_line = len(comments) + 2
    check_rows(frame, path, first_line)
    check_order(frame, path, first_line)
    _check_sum(head, frame, path)
    return head, frame


def _check_head(head: dict[str, str], path: Path) -> None:
    for name in (*PROVENANCE, *COUNTS, "unit"):
        if not head.get(name):
            raise TableError(
                f"{path}: the head must say {name!r}: without it nobody knows what was timed; "
                f"run measure.py again rather than write it by hand"
            )
    if head["unit"] != "us":
        raise TableError(f"{path}: unit must be us, microseconds; got {head['unit']!r}")
    for name in COUNTS:
        try:
            good = float(head[name]) > 0
        except ValueError:
            good = False
        if not good:
            raise TableError(f"{path}: {name} must be a number above 0; got {head[name]!r}")


def _check_count(head: dict[str, str], frame: pd.DataFrame, path: Path) -> None:
    due = int(head["operators"]) * int(head["sessions"]) * int(head["rounds"])
    if len(frame) != due:
        raise TableError(
            f"{path}: must have {due} samples ({head['operators']} operators, "
            f"{head['sessions']} sessions, {head['rounds']} rounds); got {len(frame)}: "
            f"it was truncated or added to"
        )


def _check_sum(head: dict[str, str], frame: pd.DataFrame, path: Path) -> None:
    """Samples in another unit, or edited, have another sum, or are longer than the run was."""
    total, due = float(frame["sample_us"].sum()), float(head["sum_us"])
    if abs(total - due) > 1e-6 * due + 1e-3 * len(frame):
        raise TableError(
            f"{path}: samples must add up to the {due:.0f} us of the head; got {total:.0f}: "
            f"they are in another unit, or were changed"
        )
    if total > 1e6 * float(head["elapsed_s"]):
        raise TableError(
            f"{path}: samples add up to {total / 1e6:.1f} s, but the run took {head['elapsed_s']} "
            f"s: they are not in microseconds"
        )
