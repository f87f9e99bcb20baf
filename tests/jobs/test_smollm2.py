"""Real weights through the whole path, from a GGUF file to a bundle that verifies."""

from __future__ import annotations

import pytest

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.bundle import TOKENIZER_FILE
from tests import smollm2

QUESTIONS = ["Tom has 3 apples and buys 5 more. How many now?", "What is 12 plus 30?"]


@pytest.fixture(scope="module")
def denoiser():
    return smollm2.denoiser()


@pytest.fixture(scope="module")
def exporter(denoiser):
    return Exporter(denoiser)


def plans(layers: int) -> dict[str, CompressionPlan]:
    """All int8, and every format side by side."""
    formats = ["fp32", "w8a8", "w8", "w4"]
    mixed = [{"attention": formats[i % 4], "mlp": formats[(i + 1) % 4]} for i in range(layers)]
    return {
        "w8a8": CompressionPlan.uniform(layers, "w8a8", "w8a8", head="w8a8"),
        "mixed": CompressionPlan.validate({"layers": mixed, "head": "w8"}),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w8a8", "mixed"])
def test_bundles_of_real_weights_verify_and_weigh_what_is_said(denoiser, exporter, tmp_path, name):
    plan = plans(denoiser.num_layers)[name]
    kept = KeptShares.keeping_all(denoiser.num_layers)
    compressed = compress(denoiser, plan)
    bundle = exporter.export(compressed, kept, tmp_path / name, questions=QUESTIONS)
    checks = verify(bundle.path)
    assert [check for check in checks if check.decides and not check.passed] == []
    files = sum(path.stat().st_size for path in bundle.path.iterdir() if path.name != "bundle.json")
    assert bundle.size_bytes == bundle.manifest.figures.size_bytes == files
    weights = files - (bundle.path / TOKENIZER_FILE).stat().st_size
    assert weights == pytest.approx(denoiser.plan_bytes(plan), rel=0.02)
