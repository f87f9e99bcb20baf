"""Everything that the trials of a study share, made and checked before the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.study.preparation.assembly import bank_of, calibration_of, describe, prepare
    from hwsearch.study.preparation.calibration import (
        SINK_QUESTIONS,
        default_workload,
        prompted_workload,
    )
    from hwsearch.study.preparation.effort import Forecast, forecast
    from hwsearch.study.preparation.feasibility import check_feasible, fastest_plan
    from hwsearch.study.preparation.loss_choice import check_own_loss, choose_loss
    from hwsearch.study.preparation.reopening import reopen
    from hwsearch.study.preparation.space_checks import check_model, sink_profile, sinks_for_space

__all__ = [
    "SINK_QUESTIONS",
    "Forecast",
    "bank_of",
    "calibration_of",
    "check_feasible",
    "check_model",
    "check_own_loss",
    "choose_loss",
    "default_workload",
    "describe",
    "fastest_plan",
    "forecast",
    "prepare",
    "prompted_workload",
    "reopen",
    "sink_profile",
    "sinks_for_space",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.study.preparation.assembly": ["bank_of", "calibration_of", "describe", "prepare"],
        "hwsearch.study.preparation.calibration": [
            "SINK_QUESTIONS",
            "default_workload",
            "prompted_workload",
        ],
        "hwsearch.study.preparation.feasibility": ["check_feasible", "fastest_plan"],
        "hwsearch.study.preparation.effort": ["Forecast", "forecast"],
        "hwsearch.study.preparation.loss_choice": ["check_own_loss", "choose_loss"],
        "hwsearch.study.preparation.reopening": ["reopen"],
        "hwsearch.study.preparation.space_checks": [
            "check_model",
            "sink_profile",
            "sinks_for_space",
        ],
    },
)
