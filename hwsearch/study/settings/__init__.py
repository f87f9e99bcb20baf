"""Settings of a study: one value for Python, the study file and the flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.study.settings.file import StudySpec, read_study_toml
    from hwsearch.study.settings.space import SpaceSpec
    from hwsearch.study.settings.values import RunSettings, StudySettings

__all__ = [
    "RunSettings",
    "SpaceSpec",
    "StudySettings",
    "StudySpec",
    "read_study_toml",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.study.settings.file": ["StudySpec", "read_study_toml"],
        "hwsearch.study.settings.space": ["SpaceSpec"],
        "hwsearch.study.settings.values": ["RunSettings", "StudySettings"],
    },
)
