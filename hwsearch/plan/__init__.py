"""The compression plan: the one value that is searched, timed, scored, exported and drawn.

A plan is pure data. It says what is done to each layer and how text is decoded; it holds no
weights and names no model. Two plans that say the same are equal and hash the same.

    >>> plan = CompressionPlan.uniform(2, attention="w8a8", mlp="w8a8", sink_threshold=0.5)
    >>> CompressionPlan.from_json(plan.to_json()) == plan
    True
"""

from hwsearch.plan.compression import SCHEMA_VERSION, CompressionPlan
from hwsearch.plan.decoding import CommitRule, Decoding, Window
from hwsearch.plan.layers import (
    CachePolicy,
    CacheRule,
    LayerPlan,
    WeightFormat,
    WeightPruning,
    kept_of,
)

__all__ = [
    "SCHEMA_VERSION",
    "CachePolicy",
    "CacheRule",
    "CommitRule",
    "CompressionPlan",
    "Decoding",
    "LayerPlan",
    "WeightFormat",
    "WeightPruning",
    "Window",
    "kept_of",
]
