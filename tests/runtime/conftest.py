import pytest

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser

KEPT_SHARES = KeptShares((1.0, 0.5))
QUESTIONS = tuple(f"tom has {n} apples and buys 5 more how many now ?" for n in range(6))


@pytest.fixture(scope="session")
def denoiser():
    return tiny_denoiser(grouped=True, qkv_bias=True)


@pytest.fixture(scope="session")
def bundle(denoiser, tmp_path_factory):
    """The float model with a pruned layer. Tests must not write into it: copy it."""
    out = tmp_path_factory.mktemp("bundle") / "float"
    plan = CompressionPlan.uniform(2)
    return write_bundle(compress(denoiser, plan), KEPT_SHARES, out, questions=QUESTIONS)
