"""The file that a kit's script writes: read, and refused by row where anything is wrong with it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hwsearch.errors import TableError
from hwsearch.files import FileKind, checked, parse_json, read_text
from hwsearch.files.kinds import MIB
from hwsearch.files.tables import parse_csv
from hwsearch.latency.devices.table_csv import check_columns, check_order, check_rows, refuse
from hwsearch.latency.kit.kinds import KINDS_BY_RUNTIME, PYTHON_KIT, KitKind
from hwsearch.latency.kit.models import PASSES, KitModels
from hwsearch.latency.operators import KINDS

FIRST_LINE = "# hwsearch kit results, version 2"

#: What the head of the results must say of the machine and the run, beside what ran the kit there.
PROVENANCE = ("processor", "system", "onnxruntime", "threads")
WHOLE_COUNTS = ("threads", "operators", "sessions", "rounds")
COUNTS = (*WHOLE_COUNTS, "elapsed_s", "sum_us")

_WHOLE = re.compile(r"[0-9]{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?(e[+-]?[0-9]{1,2})?")

#: The file that a kit brings back.
RESULTS_FILE = FileKind("file of results", 256 * MIB, TableError, "run the kit again")


@dataclass(frozen=True, eq=False)
class Results:
    """What a kit brought back.

    Attributes:
        kind: what it was for.
        head: what the file says of machine and run.
        frame: its samples, of operators and of whole passes.
        models: what was run whole; None where nothing was.
    """

    kind: KitKind
    head: dict[str, str]
    frame: pd.DataFrame
    models: KitModels | None


def read_results(path: Path) -> Results:
    """Read and check results.

    Raises:
        TableError: they are not whole, not in order, impossible, changed, or do not say what
            machine they are of; the message names the row.
    """
    lines = read_text(path, RESULTS_FILE).splitlines()
    if not lines or lines[0] != FIRST_LINE:
        raise TableError(f"{path}, row 1: results of a kit begin with {FIRST_LINE!r}")
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head = dict(line[1:].strip().partition(": ")[::2] for line in lines[1:count])
    # those of the first kits do not say what they are for
    kind = _kind(head.pop("runtime", PYTHON_KIT.provider.name), path)
    _check_head(head, kind, path)
    models = _models(head.pop("whole", None), path)
    frame = parse_csv("\n".join(lines[count:]), f"{path}: samples after the head", RESULTS_FILE)
    check_columns(list(map(str, frame.columns)), path)
    _check_count(head, frame, path)
    first_line = count + 2
    check_rows(frame, path, first_line, (*KINDS, *PASSES))
    _check_passes(frame, models, path, first_line)
    check_order(frame, path, first_line)
    _check_sum(head, frame, path)
    _check_digest(head.pop("sha256"), lines, path)
    return Results(kind, head, frame, models)


def _kind(runtime: str, path: Path) -> KitKind:
    if runtime not in KINDS_BY_RUNTIME:
        raise TableError(
            f"{path}: runtime must be one that kits time, {', '.join(KINDS_BY_RUNTIME)}; got {runtime!r}"
        )
    return KINDS_BY_RUNTIME[runtime]


def _check_head(head: dict[str, str], kind: KitKind, path: Path) -> None:
    for name in (*PROVENANCE, kind.engine, *COUNTS, "unit", "sha256"):
        if not head.get(name):
            raise TableError(
                f"{path}: the head must say {name!r}: without it nobody knows what was timed; "
                f"run the kit again rather than write it by hand"
            )
    if head["unit"] != "us":
        raise TableError(f"{path}: unit must be us, microseconds; got {head['unit']!r}")
    for name in COUNTS:
        form = _WHOLE if name in WHOLE_COUNTS else _DECIMAL
        if not (form.fullmatch(head[name]) and float(head[name]) > 0):
            raise TableError(
                f"{path}: {name} must be a number above 0, of no more than 15 digits; got {head[name]!r}"
            )


def _models(text: str | None, path: Path) -> KitModels | None:
    if text is None:
        return None
    where = f"{path}: whole"
    models = checked(KitModels, parse_json(text, where, RESULTS_FILE), where, RESULTS_FILE)
    layers = models.geometry.num_layers
    for index, entry in enumerate(models.plans):
        if {len(entry.plan.layers), len(entry.kept_shares)} != {layers}:
            raise TableError(
                f"{path}: whole: plan {index + 1} must have {layers} layers and as many kept shares"
            )
    return models


def _check_count(head: dict[str, str], frame: pd.DataFrame, path: Path) -> None:
    due = int(head["operators"]) * int(head["sessions"]) * int(head["rounds"])
    if len(frame) != due:
        raise TableError(
            f"{path}: must have {due} samples ({head['operators']} operators, "
            f"{head['sessions']} sessions, {head['rounds']} rounds); got {len(frame)}: "
            f"it was truncated or added to"
        )


def _check_passes(
    frame: pd.DataFrame, models: KitModels | None, path: Path, first_line: int
) -> None:
    """Refuse whole passes that the head does not speak of."""
    known = [] if models is None else models.keys()
    named = {(key.kind, key.rows, key.in_features) for key in known}
    passes = frame[frame["kind"].isin(PASSES)]
    places = zip(passes.index, passes["kind"], passes["rows"], passes["in_features"], strict=True)
    for row, kind, rows, plan in places:
        if (kind, int(rows), int(plan)) not in named:
            rule = "a whole pass must be one of those that the head names under 'whole'"
            refuse(path, int(row) + first_line, rule, f"{kind} of {rows} rows, plan {plan}")


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


def _check_digest(digest: str, lines: list[str], path: Path) -> None:
    """Anything else that was changed, such as two samples swapped."""
    signed = [line for line in lines if not line.startswith("# sha256: ")]
    if hashlib.sha256("\n".join(signed).encode()).hexdigest() != digest:
        raise TableError(
            f"{path}: sha256 must be that of the other rows: something in them was changed after "
            "the kit wrote it; bring the file back once more"
        )
