from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from hwsearch.bundle import Exporter
from hwsearch.compression import WeightBank, WeightCalibration, compress, noisy_passes
from hwsearch.compression.pruning import lowest_share, n_of_m, sparsegpt, zeroed_share
from hwsearch.compression.pruning.calibration import row_weights
from hwsearch.compression.pruning.sparsegpt import DAMPING, refit
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import InputError, PlanError
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Runtime, measure_agreement
from hwsearch.testing.tiny import tiny_denoiser
from tests.sinks import by_hand

SEQUENCES = [([10, 11, 12, 13], [20 + i + j for j in range(8)]) for i in range(3)]
QUESTIONS = [f"tom has {n} apples and buys 5 more how many now ?" for n in range(3)]
METHODS = ("random", "magnitude", "wanda", "sparsegpt")


@pytest.fixture(scope="module", params=[False, True], ids=["heads", "grouped"])
def denoiser(request):
    return tiny_denoiser(heads=4, grouped=request.param, qkv_bias=False)


@pytest.fixture(scope="module")
def passes(denoiser):
    return noisy_passes(denoiser, SEQUENCES, times=(0.3, 0.6, 0.9))


@pytest.fixture(scope="module")
def bank(denoiser, passes):
    return WeightBank(denoiser, WeightCalibration(denoiser, passes))


def plan_of(method="wanda", sinks="layer", **layer):
    return CompressionPlan.uniform(2, pruning={"method": method, "sinks": sinks}, **layer)


def first_inputs(denoiser, tokens):
    """What layer 0's q, k and v projections see."""
    weights = {k: v.double().numpy() for k, v in denoiser.network.state_dict().items()}
    x = weights["model.embed_tokens.weight"][tokens.numpy()]
    scale = weights["model.layers.0.input_layernorm.weight"]
    return by_hand.norm(x, scale, denoiser.geometry.rms_norm_eps)


@pytest.mark.parametrize("sinks", ["ignore", "global", "layer", "preserve"])
def test_activations_are_the_papers_sums_written_out(denoiser, passes, bank, sinks):
    levels = passes[0]
    masses = [by_hand.head_mass(by_hand.maps(denoiser.network, t.numpy())) for t in levels]
    norms = np.zeros(64)
    hessian = np.zeros((64, 64))
    for sample in range(3):
        omegas = []
        for mass in masses:
            seen = (
                mass[:, sample].sum(axis=(0, 1))
                if sinks == "global"
                else mass[0, sample].sum(axis=0)
            )
            score = by_hand.soft(seen)
            if sinks == "preserve":
                score[:4] = 1.0
            omegas.append({"ignore": np.ones(12), "preserve": 1 + score}.get(sinks, 1 - score))
        for tokens, omega in zip(levels, omegas, strict=True):
            x = first_inputs(denoiser, tokens)[sample]
            norms += np.sqrt(((omega[:, None] * x) ** 2).sum(axis=0))
            weighed = np.mean(omegas, axis=0)[:, None] * x
            hessian += weighed.T @ weighed
    found = bank.calibration.activations(sinks, hessians=True)
    assert bank.calibration.activations(sinks).hessians == {}
    path = "model.layers.0.self_attn.q_proj"
    assert np.abs(found.norms[path].numpy() - norms).max() <= 1e-6 * norms.max()
    assert np.abs(found.hessians[path].numpy() - hessian).max() <= 1e-5 * hessian.max()


def test_row_weights_by_hand():
    mass = np.array([[[[0.0, 0, 0, 0, 0, 0, 0, 0, 0, 90]]]])
    assert row_weights(mass, "layer")[0, 0, 0].round(3).tolist() == [1] * 9 + [0]
    assert row_weights(mass, "preserve")[0, 0, 0].round(3).tolist() == [2] * 4 + [1] * 5 + [2]
    # one layer's sink is none of the sum's: the global score sees the sum alone
    two = np.array([[[[0.0] * 9 + [90.0]], [[10.0] * 9 + [0.0]]]])
    assert row_weights(two, "layer")[0, 1, 0, 9] == pytest.approx(1.0)
    assert row_weights(two, "global")[0, 1, 0, 9] == pytest.approx(0.0, abs=1e-6)


def test_masks_by_hand():
    score = torch.tensor([[4.0, 1, 3, 2], [1, 1, 1, 1]])
    assert lowest_share(score, 0.5).tolist() == [
        [False, True, False, True],
        [True, True, False, False],
    ]
    assert n_of_m(score, 1, 2).tolist() == [[True, False, True, False]] * 2
    with pytest.raises(PlanError, match="multiples of 3, and a linear has 4"):
        n_of_m(score, 2, 3)


def obs_written_out(weight, hessian, zeroed):
    """Zero some weights from left to right; each time, the inputs to come make up for it."""
    hessian = hessian + DAMPING * np.diag(hessian).mean() * np.eye(len(hessian))
    weight = weight.copy()
    for i in range(weight.shape[1]):
        inverse = np.linalg.inv(hessian[i:, i:])
        error = np.where(zeroed[:, i], weight[:, i], 0.0) / inverse[0, 0]
        weight[:, i:] -= error[:, None] * inverse[0]
        weight[zeroed[:, i], i] = 0.0
    return weight


@pytest.mark.parametrize("sparsity", [0.5, "2:4"])
def test_sparsegpt_is_the_optimal_brain_surgeon_in_order(sparsity):
    rng = np.random.default_rng(0)
    x, weight = (
        rng.standard_normal((200, 160)) @ rng.standard_normal((160, 160)),
        rng.standard_normal((6, 160)),
    )
    hessian = x.T @ x
    found = sparsegpt(torch.from_numpy(weight), torch.from_numpy(hessian), sparsity).numpy()
    zeroed = found == 0
    assert zeroed.mean() == 0.5
    if sparsity == "2:4":
        assert (zeroed.reshape(6, -1, 4).sum(axis=2) == 2).all()
    assert np.abs(found - obs_written_out(weight, hessian, zeroed)).max() <= 1e-5
    assert np.linalg.norm(x @ (found - weight).T) < np.linalg.norm(x @ (weight * zeroed).T)


def test_refitting_is_least_squares():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((300, 8)), rng.standard_normal((3, 8))
    x[:, 7] = x[:, 0] + 0.1 * x[:, 7]
    kept = torch.arange(7)
    found = refit(torch.from_numpy(weight), torch.from_numpy(x.T @ x) * 1e9, kept).numpy()
    wanted = np.linalg.lstsq(x[:, :7], x @ weight.T, rcond=None)[0].T
    assert np.abs(found - wanted).max() < 0.05
    assert np.linalg.norm(x[:, :7] @ found.T - x @ weight.T) < np.linalg.norm(
        x[:, 7:] @ weight[:, 7:].T
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_share_of_every_layer_is_zeroed_and_the_original_stays(denoiser, bank, method):
    before = {k: v.clone() for k, v in denoiser.network.state_dict().items()}
    network = compress(denoiser, plan_of(method, sparsity=0.25), bank).network
    for path in network.linear_groups().paths():
        share = 0.0 if path == "lm_head" else 0.25
        assert zeroed_share(network.get_submodule(path).weight) == pytest.approx(share)
    assert all(torch.equal(v, before[k]) for k, v in denoiser.network.state_dict().items())


def test_methods_and_sinks_choose_differently_and_repeatably(denoiser, bank, passes):
    tokens = passes[0][0]
    seen = {}
    for method in METHODS:
        for sinks in ("ignore", "global", "layer", "preserve"):
            network = compress(denoiser, plan_of(method, sinks, sparsity=0.5), bank).network
            seen[method, sinks] = network(tokens)
    for method in ("random", "magnitude"):
        assert torch.equal(seen[method, "ignore"], seen[method, "layer"])
    assert not torch.equal(seen["random", "ignore"], seen["magnitude", "ignore"])
    fresh = WeightBank(denoiser, WeightCalibration(denoiser, passes))
    again = compress(denoiser, plan_of("random", "ignore", sparsity=0.5), fresh).network(tokens)
    assert torch.equal(again, seen["random", "ignore"])


@pytest.mark.parametrize("method", ["random", "magnitude", "wanda"])
def test_a_network_with_fewer_heads_and_channels_equals_one_whose_columns_are_zero(
    denoiser, bank, passes, method
):
    heads = max(1, denoiser.geometry.num_kv_heads // 2)
    plan = plan_of(method, kept_heads=heads, kept_channels=96)
    smaller = compress(denoiser, plan, bank).network
    attention, mlp = smaller.model.layers[0].self_attn, smaller.model.layers[0].mlp
    assert attention.k_proj.weight.shape[0] == heads * denoiser.geometry.head_dim
    assert mlp.gate_proj.weight.shape == (96, 64)
    state = {k: v.clone() for k, v in denoiser.network.state_dict().items()}
    for index in range(2):
        for name, module in (
            ("self_attn.o_proj", smaller.model.layers[index].self_attn.o_proj),
            ("mlp.down_proj", smaller.model.layers[index].mlp.down_proj),
        ):
            full = state[f"model.layers.{index}.{name}.weight"]
            there = (full.T[:, None] == module.weight.T).all(dim=2).any(dim=1)
            assert there.sum() == module.weight.shape[1]
            full[:, ~there] = 0.0
    zeroed = tiny_denoiser(heads=4, grouped=denoiser.geometry.num_kv_heads == 1).network
    zeroed.load_state_dict(state)
    tokens = passes[0][0]
    assert torch.allclose(smaller(tokens), zeroed(tokens), atol=1e-4)


def test_sparsegpt_refits_what_stays(denoiser, bank, passes):
    tokens = passes[0][1]
    reference = denoiser.logits(tokens)
    off = {
        method: (
            compress(denoiser, plan_of(method, kept_channels=64), bank).network(tokens) - reference
        )
        .square()
        .mean()
        for method in ("random", "sparsegpt")
    }
    assert off["sparsegpt"] < off["random"]


@pytest.fixture(scope="module")
def exporter(denoiser):
    return Exporter(denoiser)


def test_pruned_layers_export_as_smaller_graphs_that_agree(denoiser, bank, exporter, tmp_path):
    heads = max(1, denoiser.geometry.num_kv_heads // 2)
    layers = [
        {"kept_heads": heads, "kept_channels": 64, "mlp": "w8a8", "sink_threshold": 0.5},
        {"sparsity": 0.5},
    ]
    plan = CompressionPlan.validate({"layers": layers})
    compressed = compress(denoiser, plan, bank)
    bundle = exporter.export(
        compressed, KeptShares((0.5, 1.0)), tmp_path / "pruned", questions=QUESTIONS
    )
    whole = exporter.export(
        compress(denoiser, CompressionPlan.uniform(2)),
        KeptShares.keeping_all(2),
        tmp_path / "whole",
    )
    assert bundle.size_bytes < whole.size_bytes
    assert measure_agreement(Runtime(bundle, threads=1)).share >= 0.9
    step = onnx.load(tmp_path / "pruned" / "step.onnx")
    keys = {
        i.name: i.type.tensor_type.shape.dim[1].dim_value
        for i in step.graph.input
        if "key" in i.name
    }
    assert keys == {"key_0": heads, "key_1": denoiser.geometry.num_kv_heads}


def test_a_pruned_network_decodes_through_its_cache(denoiser, bank):
    network = compress(denoiser, plan_of(kept_heads=1, kept_channels=32), bank).network
    backend = TorchBackend(network, KeptShares((0.5, 0.5)))
    tokens = np.array([[10, 11, 12, 13, *[0] * 8]])
    backend.begin()
    assert backend.refresh(tokens, 4, 8).tokens.shape == (1, 4)
    assert backend.step(tokens, 4, 8).tokens.shape == (1, 4)


def test_calibration_masks_answers_at_every_noise_level(denoiser):
    levels = noisy_passes(denoiser, SEQUENCES * 20, times=(0.0, 0.5, 1.0))[0]
    shares = [(level[:, 4:] == denoiser.mask_token_id).float().mean().item() for level in levels]
    assert shares[0] < 0.02 and 0.3 < shares[1] < 0.7 and shares[2] == 1.0
    assert all((level[:, :4] == torch.tensor([10, 11, 12, 13])).all() for level in levels)


def test_what_cannot_be_pruned_is_refused(denoiser, bank):
    with pytest.raises(PlanError, match="layer 0: pruning weights needs calibration"):
        compress(denoiser, plan_of(sparsity=0.5))
    with pytest.raises(PlanError, match="heads: 9 are to stay, but there are"):
        compress(denoiser, plan_of(kept_heads=9), bank)
    with pytest.raises(PlanError, match=r"channels: 1000 are to stay, but there are 128"):
        compress(denoiser, plan_of(kept_channels=1000), bank)
    with pytest.raises(PlanError, match="multiples of 7"):
        compress(denoiser, plan_of(sparsity="2:7"), bank)
    with pytest.raises(InputError, match="at least one sequence"):
        noisy_passes(denoiser, [])
