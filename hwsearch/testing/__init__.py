"""Contracts and tiny denoisers for tests, shipped for whoever adds a device, format, policy or model."""

from hwsearch.testing.clean_estimator import CleanEstimatorContract
from hwsearch.testing.commit_policy import CommitPolicyContract
from hwsearch.testing.denoiser import DenoiserContract
from hwsearch.testing.format import FormatContract
from hwsearch.testing.runtime import RuntimeContract

__all__ = [
    "CleanEstimatorContract",
    "CommitPolicyContract",
    "DenoiserContract",
    "FormatContract",
    "RuntimeContract",
]
