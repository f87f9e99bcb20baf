"""A bundle's weights: what makes them, the graphs that name them, and the file that holds them."""

from hwsearch.bundle.weights.file import WeightsFile
from hwsearch.bundle.weights.graph import LEAST_BYTES, Graph, declared, detach
from hwsearch.bundle.weights.weight import (
    Array,
    FloatMatrix,
    FloatRows,
    Weight,
    WeightGroup,
    held,
    matrix_of,
)
from hwsearch.formats.weight_format import Spec

__all__ = [
    "LEAST_BYTES",
    "Array",
    "FloatMatrix",
    "FloatRows",
    "Graph",
    "Spec",
    "Weight",
    "WeightGroup",
    "WeightsFile",
    "declared",
    "detach",
    "held",
    "matrix_of",
]
