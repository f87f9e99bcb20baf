"""The study file: settings, model, device and space as one value.

name = "gsm-mini-half"
model = "gsm-mini"
device = "cpu"
target_ratio = 0.5
trials = 120

[space]
formats = ["fp32", "w8a8", "w4"]
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError, StudyError
from hwsearch.files import FileKind, read_toml
from hwsearch.files.kinds import MIB
from hwsearch.plan import Decoding
from hwsearch.schema import explain
from hwsearch.study.settings.space import LISTS, SpaceSpec
from hwsearch.study.settings.values import StudySettings, replaced
from hwsearch.tasks.choice import TaskChoice

#: The study file.
STUDY_FILE = FileKind("study", MIB, StudyError)

#: Settings in the order in which a file shows them.
FIELDS = (
    *ModelOptions.model_fields, *TaskChoice.model_fields,
    "target_ms", "target_ratio", "target_joules", "objective", "max_bytes", "max_joules",
    "prompt_length", "sampler", "loss", "trials", "pruner", "fidelity", "finalists", "problems",
    "seed", "name", "storage", "heartbeat_s", "sensitivities", "refine", "coarse_to_fine",
)  # fmt: skip


class StudySpec(StudySettings, ModelOptions):
    """A resolved study: what a study file says, with all that it leaves out.

    Attributes:
        model: a bundled name, a folder, a GGUF file, or a hub id.
        device: a device, or its folder.
        space: what may be chosen.

    Further attributes are those of `StudySettings` and of
    `hwsearch.denoisers.loading.options.ModelOptions`; a loss and a study to refine go by their names.
    """

    model: str
    device: str
    space: SpaceSpec = SpaceSpec()
    loss: str = "kl"
    refine: str | None = None

    @model_validator(mode="after")
    def _one_refinement(self) -> Self:
        if self.refine is not None and self.space.groups == "refine":
            raise ValueError('refine goes on from a study, groups = "refine" begins; give one')
        return self

    @classmethod
    def resolve(cls, path: Path | None, flags: Mapping[str, Any]) -> StudySpec:
        """A study from a file, flags that win over it, or both.

        Args:
            path: a TOML file, or None.
            flags: values by key; those of `LISTS` are comma-separated text. None means that the flag
                was not given.

        Raises:
            StudyError: the file cannot be read, or a key is unknown, missing or out of range.
            PlanError: the file of a decoding cannot be read.
        """
        data = read_study_toml(path) if path is not None else {}
        given = {key: value for key, value in flags.items() if value is not None}
        space: dict[str, Any] = {k: _items(given.pop(k)) for k in LISTS if k in given}
        if "decoding" in given:
            space["decodings"] = [Decoding.read_changes(given.pop("decoding"))]
        space |= {k: given.pop(k) for k in ("groups", "rounding") if k in given}
        merged = replaced(data, given)
        if space:
            merged["space"] = {**merged.get("space", {}), **space}
        try:
            return cls(**merged)
        except InputError as error:
            cause = error.__cause__
            said = explain(cause) if isinstance(cause, ValidationError) else str(error)
            raise StudyError(f"{path or 'study'}: {said}") from error

    def to_toml(self) -> str:
        """The study as TOML text."""
        import tomli_w

        said = self.model_dump(mode="json", exclude_none=True)
        # of model and task that alone which is not as it is anyway
        optional = (
            "coarse_to_fine",
            "sensitivities",
            *ModelOptions.model_fields,
            *TaskChoice.model_fields,
        )
        for name in optional:
            if said.get(name) == type(self).model_fields[name].default:
                said.pop(name, None)
        ordered = ("model", "device", *(name for name in FIELDS if name in said), "space")
        return tomli_w.dumps({name: said[name] for name in ordered})


def _items(text: str) -> list[str | int | float]:
    """The items of a comma-separated flag, numbers as such."""
    return [_number(item) for item in text.split(",")]


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        with suppress(ValueError):  # the schema says what is wrong
            return kind(text)
    return text


def read_study_toml(path: Path) -> dict[str, Any]:
    """Plain data of a TOML file. Raises `StudyError`, naming file and line."""
    return read_toml(path, STUDY_FILE)
