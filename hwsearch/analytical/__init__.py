"""Analytical diffusion: denoisers that are computed from data, without a network.

Source: Shang et al. 2026, "Fast and Scalable Analytical Diffusion" (arXiv 2602.16498, "GoldDiff").
"""

from hwsearch.analytical.catalog import METHODS, make_estimator
from hwsearch.analytical.concentration import PosteriorConcentration, measure_concentration
from hwsearch.analytical.datasets import DATASETS, load_points
from hwsearch.analytical.ddim import sample_ddim, standard_noise
from hwsearch.analytical.estimator import CleanEstimator, add_noise
from hwsearch.analytical.golden.indexed import IndexedEstimator
from hwsearch.analytical.golden.subset import GoldenEstimator, GoldenSchedule
from hwsearch.analytical.noise import NoiseSchedule, cosine_schedule, linear_schedule
from hwsearch.analytical.optimal import OptimalEstimator
from hwsearch.analytical.points import PointSet, checked_points, map_points
from hwsearch.analytical.wiener import WienerEstimator

__all__ = [
    "DATASETS",
    "METHODS",
    "CleanEstimator",
    "GoldenEstimator",
    "GoldenSchedule",
    "IndexedEstimator",
    "NoiseSchedule",
    "OptimalEstimator",
    "PointSet",
    "PosteriorConcentration",
    "WienerEstimator",
    "add_noise",
    "checked_points",
    "cosine_schedule",
    "linear_schedule",
    "load_points",
    "make_estimator",
    "map_points",
    "measure_concentration",
    "sample_ddim",
    "standard_noise",
]
