"""A sampler for losses that are nearly additive under costs that are exactly so."""

from hwsearch.search.additive.cost import AdditiveCost
from hwsearch.search.additive.sampler import AdditiveSampler

__all__ = ["AdditiveCost", "AdditiveSampler"]
