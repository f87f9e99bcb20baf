"""The search: space, objective, samplers, study and front."""

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
