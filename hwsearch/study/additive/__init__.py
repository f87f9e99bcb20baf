"""A sampler for losses that are nearly additive under costs that are exactly so."""

from hwsearch.study.additive.cost import AdditiveCost
from hwsearch.study.additive.sampler import AdditiveSampler

__all__ = ["AdditiveCost", "AdditiveSampler"]
