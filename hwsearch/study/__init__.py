"""The search: space, objective, samplers, study and front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.study.choices.search_space import SearchSpace, is_uniform
    from hwsearch.study.goal import Goal, ObjectiveKind
    from hwsearch.study.objective import Objective
    from hwsearch.study.preparation import check_feasible, fastest_plan, prepare
    from hwsearch.study.records.study import Study, load_study
    from hwsearch.study.retargeting import Resolved, resolve
    from hwsearch.study.samplers.catalog import SAMPLERS, make_sampler
    from hwsearch.study.searching import search

__all__ = [
    "SAMPLERS",
    "Goal",
    "Objective",
    "ObjectiveKind",
    "Resolved",
    "SearchSpace",
    "Study",
    "check_feasible",
    "fastest_plan",
    "is_uniform",
    "load_study",
    "make_sampler",
    "prepare",
    "resolve",
    "search",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.study.choices.search_space": ["SearchSpace", "is_uniform"],
        "hwsearch.study.goal": ["Goal", "ObjectiveKind"],
        "hwsearch.study.objective": ["Objective"],
        "hwsearch.study.preparation": ["check_feasible", "fastest_plan", "prepare"],
        "hwsearch.study.records.study": ["Study", "load_study"],
        "hwsearch.study.retargeting": ["Resolved", "resolve"],
        "hwsearch.study.samplers.catalog": ["SAMPLERS", "make_sampler"],
        "hwsearch.study.searching": ["search"],
    },
)
