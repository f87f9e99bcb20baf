"""Every probe runs in onnxruntime, and computes what its kind says."""

import numpy as np
import onnxruntime
import pytest

from hwsearch.latency.operators import KINDS, OpKey
from hwsearch.latency.probes import build_probe
from hwsearch.latency.profile import operators_of, profile
from tests.latency.test_predict import GEOMETRY, WORK

EXAMPLES = {
    "linear": OpKey("linear", 5, 64, 32),
    "attention": OpKey("attention", 4, 11, 32, 2),
    "attention-mass": OpKey("attention-mass", 6, 6, 32, 2),
    "norm": OpKey("norm", 5, 32),
    "swiglu": OpKey("swiglu", 5, 32),
    "rotary": OpKey("rotary", 5, 32, 0, 2),
    "predict": OpKey("predict", 5, 32),
}


def run(key):
    model, feeds = build_probe(key, copies=2)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    constants = {i.name: i for i in model.graph.initializer}
    return feeds, constants, dict(zip(names, session.run(None, feeds), strict=True))


def test_there_is_an_example_of_every_kind():
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_copy_has_its_own_output(kind):
    _, _, outputs = run(EXAMPLES[kind])
    assert any("0" in name for name in outputs)
    assert any("1" in name for name in outputs)
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_attention_with_a_cache_agrees_with_numpy():
    feeds, _, outputs = run(EXAMPLES["attention"])
    heads = lambda x: x.reshape(4, 2, 16).transpose(1, 0, 2)  # noqa: E731
    q, k, v = (heads(feeds[f"attention0.{part}"][0]) for part in "qkv")
    k = np.concatenate((feeds["attention0.past_k"][0], k), axis=1)
    v = np.concatenate((feeds["attention0.past_v"][0], v), axis=1)
    assert k.shape == (2, 11, 16)
    score = q @ k.transpose(0, 2, 1) / 4
    weight = np.exp(score - score.max(-1, keepdims=True))
    mixed = (weight / weight.sum(-1, keepdims=True)) @ v
    expected = mixed.transpose(1, 0, 2).reshape(4, 32)
    np.testing.assert_allclose(outputs["attention0.y"][0], expected, atol=1e-5)


def test_mass_sums_to_heads_times_queries():
    _, _, outputs = run(EXAMPLES["attention-mass"])
    assert outputs["attention-mass0.mass"].shape == (1, 6)
    assert outputs["attention-mass0.mass"].sum() == pytest.approx(2 * 6, rel=1e-5)


@pytest.mark.parametrize(
    ("fmt", "operator"), [("w8a8", "MatMulInteger"), ("w8", "MatMulNBits"), ("w4", "MatMulNBits")]
)
def test_linears_are_really_in_their_format(fmt, operator):
    model, _ = build_probe(OpKey("linear", 5, 64, 32, format=fmt), copies=3)
    assert sum(node.op_type == operator for node in model.graph.node) == 3


def test_a_profile_holds_every_operator_a_plan_may_need():
    keys = operators_of(GEOMETRY, WORK)
    table = profile(keys[:4], rounds=2, sessions=2)
    assert set(table.samples) == set(keys[:4])
    assert all(len(sessions) == 2 and len(sessions[0]) == 2 for sessions in table.samples.values())
    assert all(cost > 0 for cost in table.p50_us.values())
