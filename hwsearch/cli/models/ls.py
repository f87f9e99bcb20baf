"""`hwsearch ls`: everything that a flag can name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import device_option, json_option, refuse_idle
from hwsearch.cli.output import note, print_json
from hwsearch.cli.printing import print_table
from hwsearch.schema import Frozen

KINDS = ("models", "devices", "tasks", "formats", "policies", "forecasts", "methods", "studies")


@click.command(name="ls", cls=Verb)
@click.argument("kind", type=click.Choice(KINDS))
@device_option()
@json_option
def command(kind: str, device: str | None, as_json: bool) -> None:
    """List what a flag can name.

    Formats with --device: which of them that device offers, and why not the others.
    """
    if kind != "formats":
        refuse_idle(["device"], f"with ls {kind}, but only with ls formats")
    on_device = device if kind == "formats" else None
    rows = _LISTINGS[kind]() if on_device is None else _formats_on(on_device)
    if as_json:
        print_json(rows)
    elif rows:
        columns = list(rows[0])
        print_table(kind, columns, [[row[column] for column in columns] for row in rows])
    else:
        note(f"no {kind} yet")


def _models() -> list[dict[str, str]]:
    from hwsearch.denoisers.loading.model_files import BUNDLED, bundled_names

    return [{"name": name, "folder": str(BUNDLED / name)} for name in bundled_names()]


def _devices() -> list[dict[str, str]]:
    from hwsearch.latency.devices.device import read_info
    from hwsearch.latency.devices.places import device_folders

    infos = [read_info(folder / "device.toml") for folder in device_folders().values()]
    return [
        {
            "name": info.name,
            "provenance": info.provenance.value,
            "held-out error": _percent(info.held_out_error),
            "runtime": info.runtime,
            "description": info.description,
        }
        for info in infos
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _tasks() -> list[dict[str, str]]:
    from hwsearch.tasks.catalog import TASKS

    return [{"name": name} for name in TASKS]


def _formats() -> list[dict[str, str]]:
    from hwsearch.formats.catalog import FORMATS

    return [{"name": name.value, "description": form.text} for name, form in FORMATS.items()]


def _formats_on(device: str) -> list[dict[str, Any]]:
    from hwsearch.formats.catalog import format_of
    from hwsearch.jobs.format_support import format_support
    from hwsearch.latency.devices.device import load_device

    return [
        {
            "name": found.name.value,
            "offered": "yes" if found.offered else "no",
            "why not": found.why_not,
            "description": format_of(found.name).text,
        }
        for found in format_support(load_device(device))
    ]


def _policies() -> list[dict[str, str]]:
    from hwsearch.commit import POLICIES

    return _described(POLICIES, "policy")


def _forecasts() -> list[dict[str, str]]:
    from hwsearch.forecast.settings import METHODS

    return _described(METHODS, "method")


def _described(classes: Mapping[str, type[Frozen]], named: str) -> list[dict[str, str]]:
    """Classes of settings by name, with their numbers and the first line that says what they are."""
    return [
        {
            "name": name,
            "numbers": ", ".join(
                f"{key} {field.default}"
                for key, field in found.model_fields.items()
                if key != named
            ),
            "description": (found.__doc__ or "").strip().splitlines()[0],
        }
        for name, found in classes.items()
    ]


def _methods() -> list[dict[str, str]]:
    from hwsearch.study.samplers.catalog import SAMPLERS
    from hwsearch.tasks.losses import LOSSES

    samplers = [{"name": name, "kind": "sampler"} for name in SAMPLERS]
    return [*samplers, *({"name": name, "kind": "loss"} for name in LOSSES)]


def _studies() -> list[dict[str, str]]:
    return [{"name": path.stem, "file": str(path)} for path in sorted(Path("studies").glob("*.db"))]


_LISTINGS = {
    "models": _models,
    "devices": _devices,
    "tasks": _tasks,
    "formats": _formats,
    "policies": _policies,
    "forecasts": _forecasts,
    "methods": _methods,
    "studies": _studies,
}
