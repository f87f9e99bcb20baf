"""An autoregressive model is priced as runtimes decode one: the prompt at once, then token by token."""

from dataclasses import replace

import numpy as np
import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.passes import PassKind, PassShape
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.operators import Workload, pass_operators
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.testing.device import formula_device, formula_us
from hwsearch.testing.tiny import tiny_geometry

GEOMETRY = replace(tiny_geometry(), causal=True, logit_shift=True)
DECODING = Decoding(gen_length=5, block_length=1, steps=5, refresh_interval=1)
WORK = Workload(9, DECODING)


def uniform(fmt):
    return KeptPlan.keeping_all(CompressionPlan.uniform(2, fmt, fmt, head=fmt))


def pass_ms(plan, shape):
    found = pass_operators(GEOMETRY, plan, shape)
    return sum(count * formula_us(key) for key, count in found.items()) / 1e3


def test_a_generation_is_the_prompt_and_a_row_a_token():
    predictor = Predictor(formula_device(GEOMETRY, WORK), GEOMETRY, WORK)
    plan = uniform("w8")
    found = predictor.predict(plan)
    # tokens two to five: 10, 11, 12 and 13 keys, in the mean 11.5
    steps = [PassShape(PassKind.STEP, 1, keys, 1) for keys in (10, 11, 12, 13)]
    prompt = pass_ms(plan, PassShape(PassKind.REFRESH, 9, 9, 1))
    wanted = prompt + sum(pass_ms(plan, step) for step in steps)
    assert found.generation_ms == pytest.approx(wanted, rel=1e-2)
    assert found.refresh_ms == pytest.approx(prompt)
    assert found.passes == {PassKind.REFRESH: 1.0, PassKind.ADVANCE: 0.0, PassKind.STEP: 4.0}
    layers = sum(predictor.layers_ms(plan))
    assert layers + predictor.head_ms(plan.plan.head) == pytest.approx(found.generation_ms)


def test_fewer_bits_are_faster_where_a_row_waits_for_its_weights():
    device = load_device("ryzen-7950x")
    work = Workload(128, DECODING.changed({"gen_length": 128, "steps": 128}))
    big = replace(GEOMETRY, hidden_size=2048, num_heads=16, num_kv_heads=16, head_dim=128,
                  intermediate_size=8192, vocab_size=32_000)  # fmt: skip
    predictor = Predictor(device, big, work)
    times = [predictor.predict(uniform(fmt)).generation_ms for fmt in ("fp16", "w8", "w4")]
    assert all(np.isfinite(times)) and times == sorted(times, reverse=True)
    assert times[2] < 0.5 * times[0]
    assert predictor.binding(uniform("fp16")) == ("compute", "memory")
    # a full pass a token, which torch runs here, would take several times as long
    uncached = Predictor(device, replace(big, causal=False), work)
    assert uncached.predict(uniform("fp16")).generation_ms > 3 * times[0]


def test_passes_that_were_counted_are_taken_in_the_mean():
    device = formula_device(GEOMETRY, WORK)
    predictor = Predictor(device, GEOMETRY, WORK)
    same = predictor.given(PassCounts.scheduled(DECODING))
    assert same.predict(uniform("w4")) == predictor.predict(uniform("w4"))
    once = Workload(9, DECODING.changed({"gen_length": 1, "steps": 1}))
    only = Predictor(formula_device(GEOMETRY, once), GEOMETRY, once).predict(uniform("w4"))
    assert only.passes == {PassKind.REFRESH: 1.0, PassKind.ADVANCE: 0.0, PassKind.STEP: 0.0}
    assert only.generation_ms == pytest.approx(only.refresh_ms)
