"""What a bundle's graphs take and hand out, held against what its manifest says: before anything is run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from hwsearch.decoding.kept import Signal
from hwsearch.errors import HwsearchError
from hwsearch.runtime.bundle import REFRESH_FILE, STEP_FILE, Bundle
from hwsearch.runtime.guards.graph_file import GRAPH_FILE
from hwsearch.runtime.providers import Session

#: Inputs that passes know how to feed; each with its type and number of dimensions.
_INPUTS: Final = {
    "tokens": ("int64", 2),
    "start": ("int64", 0),
    "positions": ("int64", 1),
    "noise": ("double", 3),
    "logp": ("float", 3),
    "credit": ("float", 3),
}

#: Outputs that every graph hands out.
_OUTPUTS: Final = {"token": ("int64", 2), "confidence": ("float", 2)}

_CACHED: Final = re.compile(r"(key|value)_\d+")
#: Outputs that have a value for each row of the block.
_A_ROW: Final = ("token", "confidence", "entropy")

_BEFORE: Final = "before"

#: The largest size that a graph may fix: what no memory holds is refused before it is asked for.
_MOST_SIZE: Final = 1 << 24


def check_ends(bundle: Bundle, refresh: Session, step: Session | None) -> None:
    """Raise `VerificationError` where graphs take or hand out something else than passes feed and read."""
    layers = bundle.manifest.layers
    for file, session in ((REFRESH_FILE, refresh), (STEP_FILE, step)):
        if session is None:
            continue
        where = bundle.path / file
        inputs, outputs = _named(session.get_inputs()), _named(session.get_outputs())
        _check(
            where, "input", {n: v for n, v in inputs.items() if n in _INPUTS}, _INPUTS, {"tokens"}
        )
        _check(where, "output", outputs, _OUTPUTS, _OUTPUTS.keys())
        cached = {f"{part}_{layer}" for part in ("key", "value") for layer in range(layers)}
        given = {n for n in (inputs if file == STEP_FILE else outputs) if _CACHED.fullmatch(n)}
        if step is not None and given != cached:
            raise GRAPH_FILE.refuse(
                where, f"it must have keys and values of {layers} layers; those differ: "
                f"{', '.join(sorted(given ^ cached)[:4])}"
            )  # fmt: skip
        if step is not None and file == REFRESH_FILE:
            _check_signal_ends(where, bundle, outputs)
        strange = (
            inputs.keys() - _INPUTS.keys() - (cached | {_BEFORE} if file == STEP_FILE else set())
        )
        if strange:
            raise GRAPH_FILE.refuse(where, f"nothing feeds its input {sorted(strange)[0]!r}")


def _named(values: Sequence[Any]) -> dict[str, Any]:
    return {value.name: value for value in values}


def _check(
    where: object, end: str, found: dict[str, Any], known: dict[str, tuple[str, int]], needed: Any
) -> None:
    for name in sorted(needed - found.keys()):
        raise GRAPH_FILE.refuse(where, f"it must have the {end} {name!r}")
    for name, value in found.items():
        sizes = [size for size in value.shape if isinstance(size, int)]
        if any(not 0 <= size <= _MOST_SIZE for size in sizes):
            raise GRAPH_FILE.refuse(where, f"no {end} {name!r} has the shape {value.shape}")
        if name in known and (value.type[7:-1], len(value.shape)) != known[name]:
            raise GRAPH_FILE.refuse(
                where,
                f"its {end} {name!r} must be {known[name][0]} of {known[name][1]} dimensions, and is "
                f"{value.type} of {len(value.shape)}",
            )


def check_predictions(found: Mapping[str, NDArray[Any]], rows: int) -> None:
    """Raise `VerificationError` where a pass predicts another number of rows than were asked for.

    A graph may say less of its outputs than they are, so they are looked at when they are there.
    """
    for name in _A_ROW:
        if name in found and found[name].shape != (1, rows):
            raise _of_other_size(name, f"{rows} rows", found[name])


def check_cache(found: Mapping[str, NDArray[Any]], length: int) -> None:
    """Raise `VerificationError` where a pass hands out keys or values of other positions than it took."""
    for name, value in found.items():
        if _CACHED.fullmatch(name) and (value.ndim != 4 or value.shape[2] != length):
            raise _of_other_size(name, f"{length} positions", value)


def check_signals(signals: Mapping[int, NDArray[Any]], length: int) -> None:
    """Raise `VerificationError` where what layers choose by is not of the positions that a refresh took."""
    for layer, signal in signals.items():
        if signal.shape != (1, length):
            raise _of_other_size(f"mass_{layer}", f"{length} positions", signal)


def _of_other_size(name: str, expected: str, value: NDArray[Any]) -> HwsearchError:
    return GRAPH_FILE.refuse(
        "a pass", f"{name!r} must be of {expected}, and has the shape {value.shape}"
    )


def _check_signal_ends(where: Path, bundle: Bundle, outputs: Mapping[str, Any]) -> None:
    """Raise `VerificationError` where a refresh does not hand out what layers choose positions by."""
    shares = bundle.kept_shares
    if shares.signal is Signal.NONE:
        return
    missing = {f"mass_{layer}" for layer in shares.layers_with(shares.signal)} - outputs.keys()
    if missing:
        raise GRAPH_FILE.refuse(
            where, "it must hand out what layers choose positions by; it lacks "
            f"{', '.join(sorted(missing)[:4])}"
        )  # fmt: skip
