"""Every probe runs in onnxruntime, and computes what its kind says."""

import numpy as np
import onnxruntime
import pytest

from hwsearch.latency.operators import KINDS, OpKey
from hwsearch.latency.timing.operator_graphs import build_probe, copies_of
from hwsearch.latency.timing.operator_times import operators_of, profile, split
from hwsearch.testing.tiny import tiny_geometry
from tests.latency.prediction.test_predictor import GEOMETRY, WORK

EXAMPLES = {
    "linear": OpKey("linear", 5, 64, 32),
    "attention": OpKey("attention", 4, 11, 32, 2),
    "attention-mass": OpKey("attention-mass", 6, 6, 32, 2),
    "mean-query": OpKey("mean-query", 3, 7, 64, 4, kv_heads=2),
    "norm": OpKey("norm", 5, 32),
    "swiglu": OpKey("swiglu", 5, 32),
    "rotary": OpKey("rotary", 5, 32, 0, 2),
    "predict": OpKey("predict", 5, 32),
}


LINEAR = EXAMPLES["linear"]


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


def test_mean_query_is_what_sparse_dllm_looks_at():
    feeds, _, outputs = run(EXAMPLES["mean-query"])
    query = feeds["mean-query0.q"][0, :3].mean(axis=0).reshape(2, 2, 16).mean(axis=1)
    expected = (feeds["mean-query0.k"][0] * query[:, None]).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(outputs["mean-query0.y"], expected[None], atol=1e-5)


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


def test_a_profile_that_was_cut_off_goes_on_with_what_is_missing():
    keys = operators_of(GEOMETRY, WORK)[:3]
    kept = []

    class CutOffError(Exception):
        pass

    def cut(table):
        kept.append(table)
        raise CutOffError

    with pytest.raises(CutOffError):
        profile(keys, rounds=2, sessions=2, keep=cut)
    known = dict(kept[0].samples)
    assert all(len(sessions) == 1 for sessions in known.values())
    shown = []
    table = profile(
        keys, rounds=2, sessions=2, known=known, progress=lambda turns: shown.append(turns) or turns
    )
    for key in keys:
        assert len(table.samples[key]) == 2
        assert table.samples[key][0] == known[key][0]
    again = profile(keys, rounds=2, sessions=2, known=table.samples, keep=cut)
    assert again.samples == table.samples


def test_large_weights_take_turns_and_need_no_copies():
    large = [OpKey("linear", 1, 16384, 4096 * n) for n in (1, 2, 3)]
    assert [copies_of(key) for key in (LINEAR, *large)] == [6, 1, 1, 1]
    assert split([LINEAR, *large]) == [[LINEAR, *large]]
    assert split([*large, *large]) == [[*large, large[0]], large[1:]]


def test_grouped_keys_are_probed_at_their_own_width():
    _, feeds = build_probe(OpKey("attention", 4, 11, 64, 4, kv_heads=2), copies=1)
    assert feeds["attention0.q"].shape == (1, 4, 64)
    assert feeds["attention0.k"].shape == (1, 4, 32)
    assert feeds["attention0.past_v"].shape == (1, 2, 7, 16)
    grouped = tiny_geometry(heads=4, grouped=True)
    kinds = {key.kind: key for key in operators_of(grouped, WORK)}
    assert kinds["attention"].kv_heads == kinds["attention-mass"].kv_heads == 1
