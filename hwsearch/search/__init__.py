"""The search: space, objective, samplers, study and front."""

from hwsearch.search.aim import Aim
from hwsearch.search.objective import Objective
from hwsearch.search.preparation import Target, check_feasible, fastest_plan, prepare
from hwsearch.search.resolve import Resolved, resolve
from hwsearch.search.run import search
from hwsearch.search.samplers import SAMPLERS, make_sampler
from hwsearch.search.space import SearchSpace, is_uniform
from hwsearch.search.study import Study, load_study

__all__ = [
    "SAMPLERS",
    "Aim",
    "Objective",
    "Resolved",
    "SearchSpace",
    "Study",
    "Target",
    "check_feasible",
    "fastest_plan",
    "is_uniform",
    "load_study",
    "make_sampler",
    "prepare",
    "resolve",
    "search",
]
