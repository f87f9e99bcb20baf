import pytest
import torch

from hwsearch.compression import SimulatedLinear, WeightBank, compress, linear_formats
from hwsearch.errors import PlanError
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser

MIXED = CompressionPlan.validate(
    {"layers": [{"attention": "w8a8", "mlp": "w4"}, {"attention": "fp32", "mlp": "w8"}]}
)
TOKENS = torch.arange(12)[None]


def test_the_plan_reaches_exactly_its_linears_and_the_original_stays():
    denoiser = tiny_denoiser()
    before = denoiser.logits(TOKENS)
    network = compress(denoiser, MIXED).network
    swapped = {n for n, m in network.named_modules() if isinstance(m, SimulatedLinear)}
    formats = linear_formats(MIXED, denoiser.network.linear_groups())
    assert swapped == {path for path, fmt in formats.items() if fmt != "fp32"}
    assert not any(isinstance(m, SimulatedLinear) for m in denoiser.network.modules())
    assert torch.equal(denoiser.logits(TOKENS), before)
    assert not torch.allclose(network(TOKENS), before, atol=1e-3)


APART = {"qkv": "w8a8", "out": "w8", "gate_up": "w4", "down": "fp32"}


def test_each_of_a_layers_four_products_has_its_own_format():
    groups = tiny_denoiser().network.linear_groups()
    formats = linear_formats(CompressionPlan.validate({"layers": [APART, {}]}), groups)
    found = {path.split(".", 3)[3]: fmt for path, fmt in formats.items() if ".layers.0." in path}
    assert found == {
        "self_attn.q_proj": "w8a8", "self_attn.k_proj": "w8a8", "self_attn.v_proj": "w8a8",
        "self_attn.o_proj": "w8", "mlp.gate_proj": "w4", "mlp.up_proj": "w4", "mlp.down_proj": "fp32",
    }  # fmt: skip
    assert {fmt for path, fmt in formats.items() if ".layers.0." not in path} == {"fp32"}


def test_unquantised_parts_are_shared_not_copied():
    denoiser = tiny_denoiser()
    network = compress(denoiser, MIXED).network
    ours, theirs = network.model.layers[1].self_attn, denoiser.network.model.layers[1].self_attn
    assert ours is theirs
    assert network.model.embed_tokens is denoiser.network.model.embed_tokens


def test_a_bank_quantises_each_linear_once_for_all_plans():
    denoiser = tiny_denoiser()
    bank = WeightBank(denoiser)
    uniform = CompressionPlan.uniform(2, attention="w8a8", mlp="w4")
    first = compress(denoiser, MIXED, bank).network.model.layers[0]
    second = compress(denoiser, uniform, bank).network.model.layers[0]
    assert first.self_attn.q_proj is second.self_attn.q_proj
    assert first.mlp.down_proj is second.mlp.down_proj


def test_the_uncompressed_plan_gives_the_network_itself():
    denoiser = tiny_denoiser()
    assert compress(denoiser, CompressionPlan.uniform(2)).network is denoiser.network


def test_a_tied_head_is_quantised_without_its_embedding():
    denoiser = tiny_denoiser(tie_embeddings=True)
    network = compress(denoiser, CompressionPlan.uniform(2, head="w4")).network
    assert isinstance(network.lm_head, SimulatedLinear)
    assert torch.equal(network.model.embed_tokens.weight, denoiser.network.lm_head.weight)
    assert not torch.equal(network.lm_head.weight, denoiser.network.lm_head.weight)


def test_a_plan_of_another_depth_names_both_numbers():
    with pytest.raises(PlanError, match=r"3 layers but model 'tiny' has 2"):
        compress(tiny_denoiser(), CompressionPlan.uniform(3))
