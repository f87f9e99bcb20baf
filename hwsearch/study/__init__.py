"""The search: space, objective, samplers, study and front."""

from hwsearch.study.aim import Aim
from hwsearch.study.objective import Objective
from hwsearch.study.preparation import Target, check_feasible, fastest_plan, prepare
from hwsearch.study.resolve import Resolved, resolve
from hwsearch.study.run import search
from hwsearch.study.samplers import SAMPLERS, make_sampler
from hwsearch.study.space import SearchSpace, is_uniform
from hwsearch.study.study import Study, load_study

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
