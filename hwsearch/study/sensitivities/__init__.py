"""What each format, threshold and size costs in each layer, estimated before the first trial."""

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
