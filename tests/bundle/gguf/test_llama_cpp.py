"""What llama.cpp computes with an exported file is what the simulation of its weights does.

Needs ``pip install "hwsearch[llama-cpp]"``, which builds llama.cpp (ten minutes); skipped without it.
"""

import numpy as np
import pytest
import torch

from hwsearch.bundle.gguf import export_gguf, gguf_network
from hwsearch.compression import compress
from hwsearch.compression.perturbed import perturbed
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser
from tests import smollm2

llama_cpp = pytest.importorskip("llama_cpp", reason='needs pip install "hwsearch[llama-cpp]"')

PLANS = {
    "fp32": {},
    "w8": {"attention": "w8", "mlp": "w8", "head": "w8"},
    "mixed": {"attention": "w8", "mlp": "w4", "head": "w8"},
}
MOST = 1e-3


@pytest.fixture(autouse=True)
def quiet():
    """llama.cpp tells a lot on standard error."""
    callback = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(callback, None)
    llama_cpp.llama_backend_init()
    yield callback


def llama_logits(path, tokens, causal):
    """Logits ``[length, vocab]`` of one pass over all tokens."""
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    assert model, "llama.cpp loads the file"
    params, count = llama_cpp.llama_context_default_params(), len(tokens)
    params.n_ctx = params.n_batch = params.n_ubatch = max(count, 64)
    params.n_threads = params.n_threads_batch = 1
    context = llama_cpp.llama_init_from_model(model, params)
    llama_cpp.llama_set_causal_attn(context, causal)
    batch = llama_cpp.llama_batch_init(count, 0, 1)
    batch.n_tokens = count
    for place, token in enumerate(tokens):
        batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, place, 1
        batch.seq_id[place][0], batch.logits[place] = 0, 1
    assert llama_cpp.llama_decode(context, batch) == 0
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    rows = [
        np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, place), (size,)).copy()
        for place in range(count)
    ]
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return torch.from_numpy(np.stack(rows))


def divergence(ours, theirs):
    """In nats a token."""
    p, q = (torch.log_softmax(logits.double(), -1) for logits in (ours, theirs))
    return float((p.exp() * (p - q)).sum(-1).mean())


@torch.inference_mode()
def assert_alike(denoiser, plan, tokens, folder):
    """llama.cpp's predictions are the simulation's.

    Where inputs are rounded, no two programs agree better than the simulation does with itself once its
    floats are disturbed in their last places: outliers make that .004 nats in SmolLM2.
    """
    compressed = compress(denoiser, plan)
    path = export_gguf(compressed, folder)
    network, batch = gguf_network(compressed), torch.tensor([tokens])
    ours = network(batch)[0]
    floor = max(divergence(ours, perturbed(network, seed)(batch)[0]) for seed in range(4))
    theirs = llama_logits(path, tokens, denoiser.is_causal)
    if denoiser.geometry.logit_shift:  # ours are of the position itself
        ours, theirs = ours[1:], theirs[:-1]
    assert divergence(ours, theirs) < max(MOST, 1.5 * floor)
    assert floor < 10 * MOST, "or this would say nothing"


@pytest.mark.parametrize("plan", PLANS)
def test_gsm_mini(plan, tmp_path):
    denoiser = load_denoiser("gsm-mini")
    question = "Tom has 3 bags with 4 apples each. He eats 2. How many are left?"
    tokens = [*denoiser.prompt(question), *[denoiser.mask_token_id] * 48]
    plan = CompressionPlan.uniform(6, **PLANS[plan])
    assert_alike(denoiser, plan, tokens, tmp_path / "out")


@pytest.mark.parametrize("plan", PLANS)
def test_dream_with_biases_and_grouped_heads(plan, tmp_path):
    denoiser = tiny_denoiser(hidden=128, heads=4, grouped=True, qkv_bias=True, logit_shift=True)
    plan = CompressionPlan.uniform(2, **PLANS[plan])
    assert_alike(denoiser, plan, [*range(2, 40)], tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("causal", [True, False])
def test_smollm2(plan, causal, tmp_path):
    mask = {} if causal else {"mask_token_id": smollm2.MASK_TOKEN_ID}
    denoiser = load_denoiser(smollm2.needed(), causal=causal, **mask)
    text = "Tom has 3 bags with 4 apples each. He eats 2. He has 10 apples left."
    plan = CompressionPlan.uniform(denoiser.num_layers, **PLANS[plan])
    tokens = denoiser.tokenizer.encode(text).ids
    assert_alike(denoiser, plan, tokens, tmp_path / "out")
