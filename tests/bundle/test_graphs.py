"""The exported graphs against torch, at lengths other than the traced ones."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from hwsearch.bundle import TracedGraphs
from hwsearch.bundle.graphs.pieces import GraphLayout
from hwsearch.compression import compress
from hwsearch.decoding.kept import Signal
from hwsearch.denoisers.large.lockstep import run_through
from hwsearch.denoisers.transformer import KeyValue
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser

BLOCK, START, LENGTH = 4, 9, 21
KEPT = (5, 16)
TOKENS = np.random.default_rng(0).integers(0, 64, (1, LENGTH))
MIXED = CompressionPlan.validate(
    {"layers": [{"attention": "w8a8", "mlp": "w4"}, {"attention": "w8"}], "head": "w8a8"}
)
APART = CompressionPlan.validate(
    {
        "layers": [
            {"qkv": "w8a8", "out": "w8", "gate_up": "w4", "down": "fp32"},
            {"attention": "w8", "gate_up": "w8a8", "down": "w4"},
        ]
    }
)


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser(grouped=True, qkv_bias=True)


@pytest.fixture(scope="module")
def graphs(denoiser):
    return TracedGraphs(denoiser.network, GraphLayout(BLOCK))


def run(graph, feeds):
    session = ort.InferenceSession(graph.whole().SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def block(array):
    return array[:, START : START + BLOCK]


@torch.inference_mode()
def torch_logits_and_cache(network):
    state = network.refresh(torch.from_numpy(TOKENS), frozenset({1}))
    past = [KeyValue(*(p[:, :, :n] for p in kv)) for kv, n in zip(state.cache, KEPT, strict=True)]
    hidden = network.step(torch.from_numpy(block(TOKENS)), START, past)
    return state, network.lm_head(block(state.hidden)), past, network.lm_head(hidden)


def step_feeds(past):
    feeds = {"tokens": block(TOKENS), "start": np.array(START)}
    for layer, (key, value) in enumerate(past):
        feeds |= {f"key_{layer}": key.numpy(), f"value_{layer}": value.numpy()}
    return feeds


def assert_same_prediction(found, logits, tolerance):
    confidence, token = logits.softmax(-1).max(-1)
    assert found["token"].tolist() == token.tolist()
    np.testing.assert_allclose(found["confidence"], confidence.numpy(), atol=tolerance)


def test_float_graphs_are_the_transformer(denoiser, graphs):
    state, refresh_logits, past, step_logits = torch_logits_and_cache(denoiser.network)
    refresh = graphs.refresh(frozenset({1}))
    found = run(refresh, {"tokens": TOKENS, "start": np.array(START)})
    assert_same_prediction(found, refresh_logits, 1e-5)
    for layer, (key, value) in enumerate(state.cache):
        np.testing.assert_allclose(found[f"key_{layer}"], key.numpy(), atol=1e-5)
        np.testing.assert_allclose(found[f"value_{layer}"], value.numpy(), atol=1e-5)
    assert "mass_0" not in found
    np.testing.assert_allclose(found["mass_1"], state.mass[1].numpy(), atol=1e-4)
    assert_same_prediction(run(graphs.step(), step_feeds(past)), step_logits, 1e-5)


@pytest.mark.parametrize(
    "plan",
    [MIXED, APART, *(CompressionPlan.uniform(2, f, f, head=f) for f in ("w8a8", "w8", "w4"))],
    ids=["mixed", "apart", "w8a8", "w8", "w4"],
)
def test_quantised_graphs_are_the_simulated_transformer(denoiser, graphs, plan):
    network = compress(denoiser, plan).network
    _, refresh_logits, past, step_logits = torch_logits_and_cache(network)
    refresh = graphs.quantised(graphs.refresh(frozenset()), plan)
    found = run(refresh, {"tokens": TOKENS, "start": np.array(START)})
    # a rounding that flips by float error moves a value by one code: looser than in float
    assert_same_prediction(found, refresh_logits, 0.02)
    found = run(graphs.quantised(graphs.step(), plan), step_feeds(past))
    assert_same_prediction(found, step_logits, 0.02)
    float_logits = torch_logits_and_cache(denoiser.network)[1]
    assert (float_logits - refresh_logits).abs().max() > 0.01, "the plan must change something"


def test_masses_leave_no_trace_of_layers_that_keep_all(graphs):
    model = graphs.refresh(frozenset()).model
    assert not [node for node in model.graph.node if node.op_type == "ReduceSum"]
    every = graphs.refresh(frozenset({0, 1})).model
    assert len([node for node in every.graph.node if node.op_type == "ReduceSum"]) == 2


@pytest.mark.parametrize("is_windowed", [False, True])
@pytest.mark.parametrize("shift", [False, True])
def test_keys_meet_the_mean_query_of_the_block_itself(shift, is_windowed):
    """In the last layer too, where a windowed pass goes on with the rows that predict the block."""
    denoiser = tiny_denoiser(logit_shift=shift, grouped=True, sharpness=3.0)
    layout = GraphLayout(BLOCK, is_windowed=is_windowed)
    graph = TracedGraphs(denoiser.network, layout).refresh(frozenset({0, 1}), Signal.QUERY)
    feeds = {"tokens": TOKENS, "start": np.array(START)}
    if is_windowed:
        feeds["positions"] = np.arange(LENGTH)
    found = run(graph, feeds)
    with torch.inference_mode():
        state = denoiser.network.refreshing(
            torch.from_numpy(TOKENS),
            frozenset({0, 1}),
            query_rows=slice(START, START + BLOCK),
        )
        masses = run_through(state).mass
    for layer, mass in enumerate(masses):
        size = float(mass.abs().max())
        np.testing.assert_allclose(found[f"mass_{layer}"], mass.numpy(), rtol=0, atol=5e-6 * size)


def test_each_product_of_a_graph_is_in_its_own_format(graphs):
    nodes = graphs.quantised(graphs.step(), APART).model.graph.node
    found = {node.name: node.op_type for node in nodes if ".layers.0." in f".{node.name}"}
    wanted = {
        "qkv_quant": "MatMulInteger", "out_Q8": "MatMulNBits", "gate_up_Q4": "MatMulNBits",
        "down": "MatMul",
    }  # fmt: skip
    assert {name: found[f"layers.0.{name}"] for name in wanted} == wanted
