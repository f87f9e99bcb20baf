"""A head that is the embedding, in every format: what is exported multiplies by the rounded weights."""

import numpy as np
import pytest
import torch

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.probe import ProbeBackend
from hwsearch.runtime.providers import CPU
from hwsearch.testing.tiny import tiny_denoiser

TOKENS = np.random.default_rng(0).integers(2, 64, (1, 20))


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser(tie_embeddings=True)


@pytest.mark.parametrize("head", CPU.formats)
def test_exported_logits_are_the_simulations(head, denoiser, tmp_path):
    compressed = compress(denoiser, CompressionPlan.uniform(2, head=head))
    kept = KeptShares.keeping_all(2)
    bundle = Exporter(denoiser).export(compressed, kept, tmp_path / "bundle", questions=[])
    logits = []
    for backend in (ProbeBackend(bundle, threads=1), backend_of(compressed.network, kept)):
        backend.begin()
        with torch.inference_mode():
            logits.append(np.asarray(backend.refresh_logits(TOKENS, 8, 12)))
    exported, simulated = logits
    assert np.abs(exported - simulated).max() <= 1e-4 * np.abs(simulated).max()
    if head != "fp32":
        exact = denoiser.network(torch.from_numpy(TOKENS))[:, 8:12].numpy()
        assert np.abs(simulated - exact).max() > 1e-3 * np.abs(exact).max()
