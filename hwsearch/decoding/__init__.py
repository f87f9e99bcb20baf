"""How a denoiser writes text: schedule, confidence sampler, cached passes.

Knows a `Backend` protocol (refresh, step); neither torch nor onnxruntime.
"""

from hwsearch.decoding.backend import GREEDY, Backend, GumbelNoise, Prediction, Sampling, Tokens
from hwsearch.decoding.cache import SinkHistory
from hwsearch.decoding.kept import KeptShares, StaticScores
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.decoding.sampler import generate
from hwsearch.decoding.schedule import Pass, passes

__all__ = [
    "GREEDY",
    "Backend",
    "GumbelNoise",
    "KeptShares",
    "Pass",
    "PositionKeeper",
    "Prediction",
    "Sampling",
    "SinkHistory",
    "StaticScores",
    "Tokens",
    "generate",
    "passes",
]
