"""Exported graphs of plans that round by calibration compute what the simulation does."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from hwsearch.bundle import Exporter, TracedGraphs
from hwsearch.bundle.graphs.pieces import GraphLayout
from hwsearch.bundle.rounded import RoundedProducts
from hwsearch.compression import WeightBank, WeightCalibration, compress, noisy_passes
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.transformer import KeyValue
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.probe import LOGITS
from hwsearch.testing.tiny import tiny_denoiser

BLOCK, START, LENGTH, KEPT = 4, 9, 21, 7
TOKENS = np.random.default_rng(0).integers(0, 64, (1, LENGTH))
SEQUENCES = [([10, 11, 12, 13], [20 + (i * j) % 40 for j in range(12)]) for i in range(8)]
MIXED = [
    {"qkv": "w8a8", "out": "w4", "gate_up": "w8", "down": "w8a8"},
    {"qkv": "fp32", "out": "w8a8", "gate_up": "fp32", "down": "w8a8"},
]
PLANS = {
    **{fmt: {"layers": [{"attention": fmt, "mlp": fmt}] * 2} for fmt in ("w8a8", "w8", "w4")},
    "mixed": {"layers": MIXED, "head": "w8a8"},
}
SMALLER = {"kept_heads": 1, "kept_channels": 24}


@pytest.fixture(scope="module", params=["heads", "grouped-bias-shift"])
def denoiser(request):
    shape = (
        {} if request.param == "heads" else {"grouped": True, "qkv_bias": True, "logit_shift": True}
    )
    found = tiny_denoiser(heads=4, **shape)
    _with_outliers(found.network)
    return found


def _with_outliers(network):
    """Some features far larger than the others, so that scales of inputs are worth it."""
    with torch.no_grad():
        for layer in network.model.layers:
            layer.input_layernorm.weight[3] *= 200
            layer.post_attention_layernorm.weight[5] *= 50
            layer.mlp.up_proj.weight[7] *= 300
            layer.self_attn.v_proj.weight[2] *= 100
        network.model.norm.weight[4] *= 50


@pytest.fixture(scope="module")
def bank(denoiser):
    passes = noisy_passes(denoiser, SEQUENCES, times=(0.3, 0.9))
    return WeightBank(denoiser, WeightCalibration(denoiser, passes))


@pytest.fixture(scope="module")
def graphs(denoiser):
    return TracedGraphs(denoiser.network, GraphLayout(BLOCK))


def run(graph, feeds):
    """All outputs of a graph, and its logits."""
    model = graph.whole()
    model.graph.output.append(onnx.ValueInfoProto(name=LOGITS))
    session = ort.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@torch.inference_mode()
def refreshed(network):
    """What a pass leaves behind, and its logits at the block."""
    state = network.refresh(torch.from_numpy(TOKENS))
    first = START - network.geometry.logit_shift
    return state, network.lm_head(state.hidden[:, first : first + BLOCK]).numpy()


@pytest.mark.parametrize("name", PLANS)
def test_the_graphs_logits_are_the_simulations(name, denoiser, bank, graphs):
    plan = CompressionPlan.validate({**PLANS[name], "rounding": "calibrated"})
    network = compress(denoiser, plan, bank).network
    rounded = RoundedProducts.of(network)
    if name in ("w8a8", "mixed"):
        folded = {n.split(".", 2)[-1] for n in rounded.factors}
        assert folded >= {"input_norm.weight", "gate_up.weight", "qkv.weight"}
    state, wanted = refreshed(network)
    refresh = graphs.quantised(graphs.refresh(frozenset()), plan, rounded)
    found = run(refresh, {"tokens": TOKENS, "start": np.array(START)})
    # as close as confidences of graphs that round to nearest: a code may flip by a sum's last place
    assert_alike(found[LOGITS], wanted)
    if not network.geometry.logit_shift:
        assert_alike(*stepped(graphs, network, plan, rounded, found, state))
    plain = refreshed(
        compress(denoiser, plan.model_copy(update={"rounding": "nearest"}), bank).network
    )
    assert np.abs(plain[1] - wanted).max() > 0.1, "calibration must change something"


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_smaller_layers_are_calibrated_too(method, denoiser, bank, tmp_path):
    plan = {
        "layers": [
            {"qkv": "w8a8", "out": "w8a8", "gate_up": "w4", "down": "w8a8", **SMALLER},
            {"attention": "w8a8", "mlp": "w8a8", "kept_channels": 24},
        ],
        "pruning": {"method": method},
        "rounding": "calibrated",
    }
    compressed = compress(denoiser, CompressionPlan.validate(plan), bank)
    out = compressed.network.model.layers[0].self_attn.o_proj
    assert out.rounded is not None and out.rounded.scale is not None, "outliers want a scale"
    Exporter(denoiser).export(
        compressed, KeptShares((0.6, 1.0)), tmp_path / "b", questions=["how many ?"]
    )
    checks = {check.name: check for check in verify(tmp_path / "b")}
    assert all(check.passed for check in checks.values() if check.decides), checks


def stepped(graphs, network, plan, rounded, found, state):
    """A step's logits by the graph, against its own cache, whose values may be scaled; and simulated."""
    feeds = {"tokens": TOKENS[:, START : START + BLOCK], "start": np.array(START)}
    past = []
    for layer, kv in enumerate(state.cache):
        names = f"key_{layer}", f"value_{layer}"
        feeds |= {name: found[name][:, :, :KEPT] for name in names}
        past.append(KeyValue(*(part[:, :, :KEPT] for part in kv)))
    with torch.inference_mode():
        hidden = network.step(torch.from_numpy(feeds["tokens"]), START, past)
        wanted = network.lm_head(hidden).numpy()
    return run(graphs.quantised(graphs.step(), plan, rounded), feeds)[LOGITS], wanted


def assert_alike(found, wanted):
    size = np.abs(wanted).max()
    assert np.abs(found - wanted).max() <= 0.02 * size


@pytest.mark.parametrize("name", PLANS)
def test_a_bundle_generates_and_verifies(name, denoiser, bank, tmp_path):
    plan = CompressionPlan.validate({**PLANS[name], "rounding": "calibrated"})
    compressed = compress(denoiser, plan, bank)
    questions = ["tom has 3 apples ?", "how many now ?"]
    out = tmp_path / "bundle"
    Exporter(denoiser).export(compressed, KeptShares((0.6, 1.0)), out, questions=questions)
    checks = {check.name: check for check in verify(out)}
    assert all(check.passed for check in checks.values() if check.decides), checks
    assert CompressionPlan.read(out / "plan.json").rounding == "calibrated"
