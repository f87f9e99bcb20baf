"""Settings of a study: one value for Python, the study file and the flags."""

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
