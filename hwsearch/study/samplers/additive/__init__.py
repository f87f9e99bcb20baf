"""A sampler for losses that are nearly additive under costs that are exactly so."""

from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.sampler import AdditiveSampler

__all__ = ["AdditiveCost", "AdditiveSampler"]
