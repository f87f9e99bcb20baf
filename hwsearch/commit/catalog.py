"""The commit policies there are, by name. A new one is added here, and nowhere else."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from hwsearch.commit.credit import CreditThreshold
from hwsearch.commit.decaying_threshold import DecayingThreshold
from hwsearch.commit.entropy_bound import EntropyBound
from hwsearch.commit.factor import Factor
from hwsearch.commit.hierarchy import Hierarchy
from hwsearch.commit.kl_stable import KLStable
from hwsearch.commit.policy import CommitPolicy
from hwsearch.commit.threshold import Threshold

#: Any of them, told apart by the field ``policy``: the type of `hwsearch.plan.Decoding.commit`.
AnyCommitPolicy = Annotated[
    Threshold | Factor | DecayingThreshold | EntropyBound | KLStable | CreditThreshold | Hierarchy,
    Field(discriminator="policy"),
]

POLICIES: Final[dict[str, type[CommitPolicy]]] = {
    str(policy.model_fields["policy"].default): policy
    for policy in (
        Threshold,
        Factor,
        DecayingThreshold,
        EntropyBound,
        KLStable,
        CreditThreshold,
        Hierarchy,
    )
}
