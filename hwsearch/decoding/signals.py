"""What a refresh hands out beside its predictions, for layers to choose cached positions by.

The one home of these names: backends ask a network for them, graphs have outputs for them, and
operators cost what they take.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from hwsearch.plan import CachePolicy, CacheRule


class Signal(StrEnum):
    """What a refresh hands out for a layer that drops cached positions.

    Attributes:
        NONE: nothing: the rule looks at places alone, or at scores calibrated beforehand.
        MASS: the attention mass that each position received, summed over heads and queries.
        QUERY: each key's product with the mean query of the block's rows, mean over heads.
    """

    NONE = ""
    MASS = "mass"
    QUERY = "query"


#: Rules that look at attention mass, and so need the probabilities of a refresh in the open.
MASS_RULES: Final = (
    CacheRule.KEEP_STABLE,
    CacheRule.DROP_TRANSIENT,
    CacheRule.MASS,
    CacheRule.AR_PRESERVE,
)


def signal_of(policy: CachePolicy) -> Signal:
    """What a refresh must hand out for a policy.

    >>> signal_of(CachePolicy()), signal_of(CachePolicy(rule="mean-query"))
    (<Signal.MASS: 'mass'>, <Signal.QUERY: 'query'>)
    >>> signal_of(CachePolicy(running=False)), signal_of(CachePolicy(rule="recent"))
    (<Signal.NONE: ''>, <Signal.NONE: ''>)
    """
    if policy.rule is CacheRule.MEAN_QUERY:
        return Signal.QUERY
    return Signal.MASS if policy.running and policy.rule in MASS_RULES else Signal.NONE
