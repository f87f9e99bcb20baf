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
    LINEAR_GROUPS,
    SHORT_FORMS,
    CachePolicy,
    CacheRule,
    LayerPlan,
    Rounding,
    WeightFormat,
    WeightPruning,
    format_words,
    groups_of,
    kept_of,
    short_of,
)

__all__ = [
    "LINEAR_GROUPS",
    "SCHEMA_VERSION",
    "SHORT_FORMS",
    "CachePolicy",
    "CacheRule",
    "CommitRule",
    "CompressionPlan",
    "Decoding",
    "LayerPlan",
    "Rounding",
    "WeightFormat",
    "WeightPruning",
    "Window",
    "format_words",
    "groups_of",
    "kept_of",
    "short_of",
]
