"""How a denoiser writes text: schedule, confidence sampler, cached passes.

Knows a `Backend` protocol (refresh, step); neither torch nor onnxruntime.
"""

from hwsearch.decoding.backend import (
    GREEDY,
    Backend,
    GumbelNoise,
    LogitsBackend,
    Prediction,
    ResumableBackend,
    Sampling,
    Tokens,
)
from hwsearch.decoding.cache import SinkHistory
from hwsearch.decoding.committing.schedule import Pass, passes
from hwsearch.decoding.kept import KeptPlan, KeptShares, Signal, StaticScores
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.decoding.sampler import generate

__all__ = [
    "GREEDY",
    "Backend",
    "GumbelNoise",
    "KeptPlan",
    "KeptShares",
    "LogitsBackend",
    "Pass",
    "PositionKeeper",
    "Prediction",
    "ResumableBackend",
    "Sampling",
    "Signal",
    "SinkHistory",
    "StaticScores",
    "Tokens",
    "generate",
    "passes",
]
