import pytest

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = tuple(f"tom has {n} apples and buys 5 more how many now ?" for n in range(3))


@pytest.fixture(scope="package")
def bundle(tmp_path_factory):
    """A tiny bundle with questions of its own. Tests must not write into it."""
    compressed = compress(tiny_denoiser(), CompressionPlan.uniform(2))
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    return write_bundle(compressed, KeptShares((1.0, 0.5)), out, questions=QUESTIONS).path
