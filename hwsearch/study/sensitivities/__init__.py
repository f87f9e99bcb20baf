"""What each format costs in each layer, estimated before the first trial."""

from hwsearch.study.sensitivities.estimates import measure_sensitivities
from hwsearch.study.sensitivities.table import Sensitivities

__all__ = ["Sensitivities", "measure_sensitivities"]
