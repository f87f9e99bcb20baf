"""What llama.cpp computes with an exported file is what the simulation of its weights does.

Needs ``pip install "hwsearch[llama-cpp]"``, which builds llama.cpp (ten minutes); skipped without it.
"""

import pytest
import torch

from hwsearch.bundle.gguf import export_gguf, gguf_network
from hwsearch.compression import compress
from hwsearch.compression.perturbed import perturbed
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser
from tests import smollm2

passes = pytest.importorskip(
    "tests.llama_cpp_passes", reason='needs pip install "hwsearch[llama-cpp]"'
)

PLANS = {
    "fp32": {},
    "w8": {"attention": "w8", "mlp": "w8", "head": "w8"},
    "mixed": {"attention": "w8", "mlp": "w4", "head": "w8"},
}
MOST = 1e-3
QUESTION = "Tom has 3 bags with 4 apples each. He eats 2. How many are left?"


@torch.inference_mode()
def assert_alike(denoiser, plan, tokens, folder):
    """llama.cpp's predictions are the simulation's, with inputs rounded as llama.cpp rounds them.

    Where inputs are rounded, no two programs agree better than the simulation does with itself once its
    floats are disturbed in their last places: outliers make that .004 nats in SmolLM2. Where a BLAS library
    multiplies, nothing is rounded and nothing is excused.
    """
    compressed = compress(denoiser, plan)
    theirs = passes.llama_pass(export_gguf(compressed, folder), tokens, denoiser.is_causal)
    floats = theirs.on_blas > 0
    rounding = passes.not_rounded if floats else passes.rounded_by_llama
    network, batch = gguf_network(compressed, rounding), torch.tensor([tokens])
    ours = network(batch)[0]
    floor = max(passes.divergence(ours, perturbed(network, seed)(batch)[0]) for seed in range(4))
    logits = theirs.logits
    if denoiser.geometry.logit_shift:  # ours are of the position itself
        ours, logits = ours[1:], logits[:-1]
    assert passes.divergence(ours, logits) < (MOST if floats else max(MOST, 1.5 * floor))
    assert floor < 10 * MOST, "or this would say nothing"
    return theirs


@pytest.mark.parametrize("plan", PLANS)
def test_gsm_mini(plan, tmp_path):
    denoiser = load_denoiser("gsm-mini")
    tokens = [*denoiser.prompt(QUESTION), *[denoiser.mask_token_id] * 48]
    plan = CompressionPlan.uniform(6, **PLANS[plan])
    assert_alike(denoiser, plan, tokens, tmp_path / "out")


@pytest.mark.parametrize("plan", PLANS)
def test_dream_with_biases_and_grouped_heads(plan, tmp_path):
    denoiser = tiny_denoiser(hidden=128, heads=4, grouped=True, qkv_bias=True, logit_shift=True)
    plan = CompressionPlan.uniform(2, **PLANS[plan])
    assert_alike(denoiser, plan, [*range(2, 40)], tmp_path / "out")


def smollm2_and(repeats, causal):
    mask = {} if causal else {"mask_token_id": smollm2.MASK_TOKEN_ID}
    denoiser = load_denoiser(smollm2.needed(), causal=causal, **mask)
    return denoiser, denoiser.tokenizer.encode(" ".join([QUESTION] * repeats)).ids


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("causal", [True, False])
def test_smollm2(plan, causal, tmp_path):
    denoiser, tokens = smollm2_and(1, causal)
    assert len(tokens) < passes.BLAS_TOKENS
    plan = CompressionPlan.uniform(denoiser.num_layers, **PLANS[plan])
    assert_alike(denoiser, plan, tokens, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("causal", [True, False])
def test_smollm2_in_floats(plan, causal, tmp_path):
    """Inputs are not rounded, so that nothing magnifies last places: the file's values alone count."""
    if not passes.has_blas():
        pytest.skip('needs llama-cpp-python built with CMAKE_ARGS="-DGGML_BLAS=ON"')
    denoiser, tokens = smollm2_and(3, causal)
    plan = CompressionPlan.uniform(denoiser.num_layers, **PLANS[plan])
    theirs = assert_alike(denoiser, plan, tokens, tmp_path / "out")
    assert theirs.on_blas == 7 * denoiser.num_layers + 1 and theirs.on_cpu == 0
