"""Names that a shell can complete: of models, devices, tasks and studies. They load nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:  # before click 8.4 it takes no type
    _TextType = click.ParamType


class Name(_TextType):
    """A name out of a list, or whatever else stands for such a thing, as a path.

    Args:
        kind: what is named.
        known: gives the names.
    """

    def __init__(self, kind: str, known: Callable[[], Iterable[str]]) -> None:
        self.name = kind
        self._known = known

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Text, as the help shows it."""
        return None if isinstance(param, click.Argument) else "TEXT"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that begin so; files where none does."""
        names = [name for name in self._known() if name.startswith(incomplete)]
        if not names:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(name) for name in names]


def _models() -> list[str]:
    from hwsearch.denoisers.loading.model_files import bundled_names

    return list(bundled_names())


def _devices() -> list[str]:
    from hwsearch.latency.devices.places import device_folders

    return sorted(device_folders())


def _tasks() -> list[str]:
    from hwsearch.tasks.catalog import TASKS

    return list(TASKS)


def _studies() -> list[str]:
    return sorted(path.stem for path in Path("studies").glob("*.db"))


MODEL, DEVICE = Name("model", _models), Name("device", _devices)
TASK, STUDY = Name("task", _tasks), Name("study", _studies)
