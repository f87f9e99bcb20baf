"""What each format, threshold and size costs in each layer, estimated before the first trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.study.sensitivities.calibrated import CalibratedLinears
    from hwsearch.study.sensitivities.estimates import measure_sensitivities, to_nearest
    from hwsearch.study.sensitivities.pruning import PruningChoices, SmallerLayers
    from hwsearch.study.sensitivities.table import Sensitivities

__all__ = [
    "CalibratedLinears",
    "PruningChoices",
    "Sensitivities",
    "SmallerLayers",
    "measure_sensitivities",
    "to_nearest",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.study.sensitivities.calibrated": ["CalibratedLinears"],
        "hwsearch.study.sensitivities.estimates": ["measure_sensitivities", "to_nearest"],
        "hwsearch.study.sensitivities.pruning": ["PruningChoices", "SmallerLayers"],
        "hwsearch.study.sensitivities.table": ["Sensitivities"],
    },
)
