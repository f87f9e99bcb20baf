"""Fitted forecasts as files: one numpy archive each, checked when it is read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from hwsearch.errors import InputError
from hwsearch.files import FileKind, parse_json
from hwsearch.files.arrays import read_npz
from hwsearch.files.kinds import MIB
from hwsearch.forecast.fitting import JudgedForecast
from hwsearch.forecast.judging import SUMS, BinFigures, figures_of
from hwsearch.forecast.methods.copying import CopiedTokens
from hwsearch.forecast.methods.coreset import Coreset
from hwsearch.forecast.methods.features import RELATIONS
from hwsearch.forecast.methods.golden import CorrectedLogits
from hwsearch.forecast.methods.history import CreditedLogits
from hwsearch.forecast.methods.low_rank import ChangedLogits
from hwsearch.forecast.methods.method import ForecastMethod
from hwsearch.forecast.methods.reuse import ReusedLogits
from hwsearch.forecast.methods.ridge import CombinedLogits
from hwsearch.forecast.settings import (
    AnyForecast,
    ForecastSettings,
    Golden,
    History,
    LowRank,
    Ridge,
)
from hwsearch.schema import explain

VERSION: Final = 1

#: The file of a fitted forecast.
FORECAST_ARCHIVE: Final = FileKind("fitted forecast", 1024 * MIB, fix="fit it again")

#: Sizes of each array of a method; a letter is one number wherever it stands.
_MAP: Final[dict[str, tuple[str | int, ...]]] = {
    "bias": ("rank",),
    "state": ("width", "rank"),
    "written": (len(RELATIONS), "vocab", "rank"),
    "up": ("rank", "vocab"),
}
_COPIES: Final[dict[str, tuple[str | int, ...]]] = {
    "copy_bias": ("distances",),
    "copy_state": ("distances", "width"),
}
_SIZES: Final[dict[type[ForecastSettings], dict[str, tuple[str | int, ...]]]] = {
    Ridge: {"weights": ("bins", "passes", "passes")},
    LowRank: _MAP,
    Golden: {
        **_MAP,
        "states": ("kept", "rank"),
        "missed": ("kept", "rank"),
        "shares": ("kept",),
    },
}


def save(forecast: JudgedForecast, path: Path) -> None:
    """Write a fitted forecast as one ``.npz`` file."""
    about = {
        "version": VERSION,
        "settings": forecast.settings.model_dump(mode="json"),
        "belongs_to": forecast.belongs_to,
    }
    sums = [[float(getattr(figures, name)) for name in SUMS] for figures in forecast.figures]
    arrays = {"about": np.array(json.dumps(about)), "figures": np.array(sums)}
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays, **forecast.method.arrays())
    path.write_bytes(packed.getvalue())


def load(path: Path) -> JudgedForecast:
    """Read what `save` wrote.

    Raises:
        InputError: the file cannot be read, or is not a fitted forecast of this version.
    """
    arrays = read_npz(path, FORECAST_ARCHIVE)
    try:
        return _forecast(arrays)
    except _MalformedError as error:
        raise InputError(f"{path}: {error}; fit it again") from error


class _MalformedError(Exception):
    """What is wrong with a file."""


def _forecast(arrays: Mapping[str, NDArray[Any]]) -> JudgedForecast:
    settings, belongs_to = _about(arrays)
    figures = _figures(arrays, settings)
    method = _method(settings, figures, arrays)
    return JudgedForecast(settings, method, figures, belongs_to)


def _about(arrays: Mapping[str, NDArray[Any]]) -> tuple[ForecastSettings, str]:
    """Settings, and what the forecast belongs to."""
    found = arrays.get("about")
    if found is None or found.shape != () or found.dtype.kind != "U":
        raise _MalformedError("holds no settings of a forecast")
    try:
        about = parse_json(str(found), "settings of the forecast", FORECAST_ARCHIVE)
        version, belongs_to = about["version"], about["belongs_to"]
        settings: ForecastSettings = TypeAdapter(AnyForecast).validate_python(about["settings"])
    except ValidationError as error:
        raise _MalformedError(f"settings of the forecast: {explain(error)}") from error
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise _MalformedError("holds no settings of a forecast") from error
    if version != VERSION:
        raise _MalformedError(f"a forecast of version {version!r}, and version {VERSION} is read")
    if not isinstance(belongs_to, str):
        raise _MalformedError("does not say what the forecast belongs to")
    return settings, belongs_to


def _figures(
    arrays: Mapping[str, NDArray[Any]], settings: ForecastSettings
) -> tuple[BinFigures, ...]:
    """How the forecast was judged."""
    sums = _array(arrays, "figures", np.float64, (settings.bins, len(SUMS)))
    if (sums < 0).any():
        raise _MalformedError("figures of the forecast are negative")
    return tuple(figures_of(row) for row in sums)


def _method(
    settings: ForecastSettings,
    figures: tuple[BinFigures, ...],
    arrays: Mapping[str, NDArray[Any]],
) -> ForecastMethod:
    """The method, of arrays that belong together."""
    if isinstance(settings, History):
        return CreditedLogits(settings)
    if type(settings) not in _SIZES or not any(one.masks for one in figures):
        return ReusedLogits()  # nothing is fitted, or there was nothing to fit on
    own = _checked_arrays(settings, arrays)
    if isinstance(settings, Ridge):
        return CombinedLogits(own["weights"])
    copied = CopiedTokens(*(own[name] for name in _COPIES)) if "copy_bias" in own else None
    map_ = ChangedLogits(copied, *(own[name] for name in _MAP))
    if isinstance(settings, Golden):
        coreset = Coreset(own["states"], own["missed"], own["shares"])
        return CorrectedLogits(map_, coreset, settings.neighbours)
    return map_


def _checked_arrays(
    settings: ForecastSettings, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float32]]:
    """The arrays of a method: float32, finite, of sizes that fit settings and each other."""
    known = settings.model_dump()
    asked = ("bins", "passes", "rank")
    sizes: dict[str, int] = {name: known[name] for name in asked if name in known}
    found = {}
    copies = {} if known.get("copy_penalty") is None else _COPIES
    for name, letters in (_SIZES[type(settings)] | copies).items():
        shape = arrays[name].shape if name in arrays else ()
        for letter, size in zip(letters, shape, strict=False):
            if isinstance(letter, str):
                sizes.setdefault(letter, size)
        expected = tuple(sizes.get(one, 0) if isinstance(one, str) else one for one in letters)
        found[name] = _array(arrays, name, np.float32, expected)
    if "kept" in sizes and not 1 <= sizes["kept"] <= known["coreset"]:
        raise _MalformedError(
            f"a coreset of {sizes['kept']} states, of {known['coreset']} asked for"
        )
    if sizes.get("distances", 1) % 2 == 0:
        raise _MalformedError(f"copies from {sizes['distances']} distances, and it must be odd")
    if "shares" in found and (found["shares"] <= 0).any():
        raise _MalformedError("states of the coreset stand for nothing")
    return found


def _array(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: type, shape: tuple[int, ...]
) -> NDArray[Any]:
    """One array as it must be."""
    found = arrays.get(name)
    if found is None:
        raise _MalformedError(f"holds no {name!r}")
    if found.dtype != dtype or found.shape != shape:
        raise _MalformedError(
            f"{name!r} is {found.dtype} {list(found.shape)}, and must be "
            f"{np.dtype(dtype)} {list(shape)}"
        )
    if not np.isfinite(found).all():
        raise _MalformedError(f"{name!r} holds what is no finite number")
    return found
