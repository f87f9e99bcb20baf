"""Dream's shifted logits and Qwen3's normed queries and keys, through the whole path to onnxruntime."""

from dataclasses import replace

import numpy as np
import pytest

from hwsearch.bundle import Exporter, write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import OnnxBackend, Runtime, check_agreement
from hwsearch.testing.tiny import tiny_denoiser

FAMILIES = {
    "dream": {"logit_shift": True, "qkv_bias": True, "grouped": True},
    "qwen3": {"qk_norm": True, "grouped": True},
    "both": {"logit_shift": True, "qk_norm": True},
}
KEPT_SHARES = KeptShares((1.0, 0.5))
QUESTIONS = [f"tom has {n} apples and buys 5 more how many now ?" for n in range(4)]


@pytest.fixture(scope="module", params=FAMILIES)
def denoiser(request):
    return tiny_denoiser(**FAMILIES[request.param])


@pytest.fixture(scope="module")
def bundle(denoiser, tmp_path_factory):
    out = tmp_path_factory.mktemp("family") / "bundle"
    return write_bundle(
        compress(denoiser, CompressionPlan.uniform(2)), KEPT_SHARES, out, questions=QUESTIONS
    )


@pytest.mark.parametrize("start", [9, 0, 17])
def test_every_pass_is_torchs(denoiser, bundle, start):
    onnx, torch = OnnxBackend(bundle, threads=1), TorchBackend(denoiser.network, KEPT_SHARES)
    tokens = np.random.default_rng(0).integers(3, 64, (1, 21))
    for backend in (onnx, torch):
        backend.begin()
    # a step after a step too: what stands still until the next refresh has to stand still in both
    for pass_ in ("refresh", "step", "step", "refresh", "step"):
        ours, theirs = (
            getattr(backend, pass_)(tokens, start, start + 4) for backend in (onnx, torch)
        )
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-5)
        tokens = (tokens + 7) % 64


def test_a_verified_bundle_repeats_torch(bundle):
    agreement = check_agreement(Runtime(bundle, threads=1), least=1.0)
    assert agreement.tokens == 8 * len(QUESTIONS)


class WithProbabilities(TorchBackend):
    """Remembers the probabilities ``[1, block, vocab]`` of its last pass."""

    def _logits(self, hidden):
        logits = super()._logits(hidden)
        self.probabilities = logits.softmax(dim=-1).numpy()
        return logits


@pytest.mark.parametrize("fmt", ["w8a8", "w4"])
def test_formats_are_those_of_the_simulation(denoiser, fmt, tmp_path):
    plan = CompressionPlan.uniform(2, fmt, fmt, head=fmt)
    compressed = compress(denoiser, plan)
    onnx = OnnxBackend(write_bundle(compressed, KEPT_SHARES, tmp_path / "bundle"), threads=1)
    torch = WithProbabilities(compressed.network, KEPT_SHARES)
    tokens = np.random.default_rng(0).integers(3, 64, (1, 21))
    for backend in (onnx, torch):
        backend.begin()
    for pass_ in ("refresh", "step"):
        ours, theirs = (getattr(backend, pass_)(tokens, 9, 13) for backend in (onnx, torch))
        # a rounding that flips by float error moves a value by one code
        np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=0.02)
        # and may so choose another token, if it was as likely
        chosen = np.take_along_axis(torch.probabilities, ours.tokens[..., None], axis=-1)
        np.testing.assert_allclose(chosen[..., 0], theirs.confidence, atol=0.02)


def test_the_shift_and_the_norms_make_a_difference(denoiser):
    tokens = np.random.default_rng(0).integers(3, 64, (1, 21))
    plain = Transformer(tiny_denoiser(grouped=denoiser.geometry.num_kv_heads == 1).geometry)
    plain.load_state_dict(denoiser.network.state_dict(), strict=False)
    backends = [
        TorchBackend(n, KeptShares.keeping_all(2)) for n in (denoiser.network, plain.eval())
    ]
    ours, theirs = (backend.refresh(tokens, 9, 13) for backend in backends)
    assert not np.allclose(ours.confidence, theirs.confidence, atol=1e-3)


def test_an_autoregressive_model_is_refused():
    plain = tiny_denoiser()
    causal = Transformer(replace(plain.geometry, causal=True))
    denoiser = replace(plain, network=causal)
    with pytest.raises(InputError, match=r"'tiny' is autoregressive.*not exported"):
        Exporter(denoiser)
