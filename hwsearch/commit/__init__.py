"""Commit policies: which masks a pass writes, by how sure the model is. One file a policy.

A policy is data, so a plan holds it, and one pure function of what a pass predicted, so torch and
onnxruntime commit alike. `hwsearch.commit.catalog` lists them; `hwsearch.testing.CommitPolicyContract`
says what a new one must hold.
"""

from hwsearch.commit.catalog import POLICIES, AnyCommitPolicy
from hwsearch.commit.policy import Candidates, CommitPolicy, Credit

__all__ = ["POLICIES", "AnyCommitPolicy", "Candidates", "CommitPolicy", "Credit"]
