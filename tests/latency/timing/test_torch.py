"""Torch's kernels, probes and random models, on the CPU as far as it has them."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import InputError
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.jobs.profiling import torch_job as torch_profiling
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.request import ProfileRequest
from hwsearch.jobs.profiling.torch import profile_torch
from hwsearch.jobs.profiling.torch_job import (
    estimate_s,
    torch_device,
    torch_job,
    torch_operators,
    usable_formats,
)
from hwsearch.latency.operators import KINDS, OpKey, Workload
from hwsearch.latency.timing.runtimes import TORCH_CPU, TORCH_CUDA, timed_runtime
from hwsearch.latency.timing.torch import kernels as torch_kernels
from hwsearch.latency.timing.torch import operators as ops
from hwsearch.latency.timing.torch.clock import sample
from hwsearch.latency.timing.torch.estimate import Pace, pace_of
from hwsearch.latency.timing.torch.kernels import FORMATS, linear_kernel
from hwsearch.latency.timing.torch.model import RandomModel
from hwsearch.latency.timing.torch.operator_probes import build_run
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.testing.tiny import tiny_geometry

CPU = torch.device("cpu")
GEOMETRY = tiny_geometry(layers=2, hidden=128, heads=4, grouped=True, vocab_size=256)
WORK = Workload(12, Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
DEVICES = [
    pytest.param("cpu"),
    pytest.param("cuda", marks=[pytest.mark.cuda, needs_gpu]),
]

#: How far a format may be from the float product, as a share of its largest value.
CLOSE = {"fp32": 1e-5, "fp16": 0.02, "w8a8": 0.05, "w8": 0.03, "w4": 0.25, "fp8": 0.15}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fmt", CLOSE)
def test_a_kernel_multiplies(fmt, device, monkeypatch):
    weights = []
    randn = torch.randn

    def kept(*size, **rest):
        weights.append(randn(*size, **rest))
        return weights[-1]

    monkeypatch.setattr(torch, "randn", kept)
    try:
        kernel = linear_kernel(fmt, 128, 256, torch.device(device))
        x = randn(5, 128, device=device)
        found = kernel(x if fmt == "fp32" else x.bfloat16()).float()
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"torch {torch.__version__} has no {fmt} here: {error}")
    expected = F.linear(x, weights[0] * 128**-0.5)
    assert found.shape == (5, 256)
    assert (found - expected).abs().max() <= CLOSE[fmt] * expected.abs().max()


@pytest.mark.cuda
@needs_gpu
def test_two_of_four_weights_are_left_out_on_a_gpu():
    kernel = linear_kernel("fp16-2:4", 128, 256, torch.device("cuda"))
    assert kernel(torch.ones(32, 128, device="cuda", dtype=torch.bfloat16)).shape == (32, 256)


def test_an_unknown_format_is_refused_by_name():
    with pytest.raises(InputError, match=r"one of fp32, fp16, .*got 'int3'"):
        linear_kernel("int3", 64, 64, CPU)


def test_mass_is_that_of_attention():
    query, key = torch.randn(1, 4, 3, 16), torch.randn(1, 2, 7, 16)
    mixed, mass = ops.attention_with_mass(query, key, key)
    torch.testing.assert_close(mixed, ops.attention(query, key, key), atol=1e-5, rtol=1e-4)
    assert mass.shape == (1, 7)
    assert mass.sum() == pytest.approx(12.0, rel=1e-5)


EXAMPLES = {
    "linear": OpKey("linear", 5, 64, 32, format="fp16"),
    "attention": OpKey("attention", 4, 11, 64, 4, kv_heads=2),
    "attention-mass": OpKey("attention-mass", 6, 6, 64, 4),
    "mean-query": OpKey("mean-query", 3, 7, 64, 4, kv_heads=2),
    "norm": OpKey("norm", 5, 32),
    "swiglu": OpKey("swiglu", 5, 32),
    "rotary": OpKey("rotary", 5, 64, 0, 4),
    "predict": OpKey("predict", 5, 32),
}


@pytest.mark.parametrize("device", DEVICES)
def test_every_kind_has_a_probe_that_runs_and_is_timed(device):
    assert set(EXAMPLES) == set(KINDS)
    from hwsearch.latency.timing.torch.clock import clock_of

    place = torch.device(device)
    runs = {key: build_run(key, place) for key in EXAMPLES.values()}
    samples = sample(runs, 2, clock_of(place))
    assert all(len(timed) == 2 and min(timed) > 0 for timed in samples.values())


def test_samples_take_turns_by_any_clock():
    clock = lambda run, times: times * run()  # noqa: E731
    runs = {"short": lambda: 100.0, "long": lambda: 5000.0}
    assert sample(runs, 3, clock) == {"short": [100.0] * 3, "long": [5000.0] * 3}


def test_a_random_model_passes_rows_and_block():
    plan = CompressionPlan.uniform(2, "fp16", "fp16", head="fp16")
    model = RandomModel(GEOMETRY, KeptPlan.drawn(plan, (1.0, 0.5)), WORK, CPU)
    for tokens, confidence in (model.refresh(), model.step()):
        assert tokens.shape == confidence.shape == (4,)
        assert ((confidence > 0) & (confidence <= 1)).all()
    # 16 positions outside the block, half of them kept by the second layer
    assert [past.shape[3] for past in model.past] == [16, 8]


def config(folder):
    text = {
        "model_type": "llama", "hidden_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_hidden_layers": 2, "intermediate_size": 256,
        "vocab_size": 256, "hidden_act": "silu",
        "hwsearch": {"decoding": WORK.decoding.model_dump()},
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(text))
    return str(folder / "config.json")


RUNTIMES = [pytest.param(f"torch-{param.values[0]}", marks=param.marks) for param in DEVICES]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_device_is_timed_and_held_against_whole_models(tmp_path, runtime):
    effort, said = Effort(rounds=2, sessions=1, mixed_plans=2), []
    request = ProfileRequest(
        "box",
        tmp_path,
        config(tmp_path / "tiny"),
        prompt_length=12,
        runtime=timed_runtime(runtime),
        effort=effort,
    )
    device = profile_torch(request, say=said.append)
    assert f"{len(device.table.samples)} operators in 1 sessions" in said[-1]
    assert "run whole: about " in said[-1]
    assert device.info.provenance == "measured"
    assert device.info.environment["torch"] == torch.__version__
    assert device.info.calibration("tiny").step.plans >= 3
    assert "fp16" in device.costs.formats()
    assert {key.kv_heads for key in device.table.samples if key.kind == "attention"} == {2}
    whole = pd.read_csv(tmp_path / "box" / "whole-model.csv")
    assert (~whole["fitted"]).sum() == 6
    assert (whole["step_measured_ms"] > 0).all()
    with pytest.raises(InputError, match="exists already"):
        profile_torch(replace(request, model=config(tmp_path / "other")))


def test_formats_that_do_not_run_say_why():
    usable, refused = usable_formats(GEOMETRY, WORK, CPU)
    assert "fp16" in usable
    assert "need an NVIDIA GPU" in refused["fp16-2:4"]
    assert {*usable, *refused} == {*FORMATS} - {"fp32"}


def test_a_kernel_that_a_gpu_lacks_is_left_out_by_name(monkeypatch, tmp_path):
    def lacking(weight):
        raise RuntimeError("_scaled_mm needs compute capability >= 8.9\nsecond line")

    monkeypatch.setitem(torch_kernels._KERNELS, "fp8", lacking)
    usable, refused = usable_formats(GEOMETRY, WORK, CPU)
    assert "fp8" not in usable
    assert refused["fp8"] == "_scaled_mm needs compute capability >= 8.9"
    job = torch_job(
        ProfileRequest(
            "box", tmp_path, config(tmp_path / "tiny"), prompt_length=12, runtime=TORCH_CPU
        )
    )
    assert "fp8 is left out, it does not run here: _scaled_mm needs" in job.lines()[0]
    assert all(key.format != "fp8" for key in job.keys)


def test_formats_that_are_asked_for_are_all_that_is_timed(tmp_path):
    """Be they the usual ones: whoever names them wants no others."""
    model = config(tmp_path / "tiny")
    request = ProfileRequest("box", tmp_path, model, prompt_length=12, runtime=TORCH_CPU)
    every = {key.format for key in torch_job(request).keys if key.kind == "linear"}
    asked = torch_job(replace(request, formats=USUAL_FORMATS))
    some = {key.format for key in asked.keys if key.kind == "linear"}
    assert {"fp16"} <= some < every and some <= {"fp16", *USUAL_FORMATS}


def test_without_bfloat16_nothing_is_timed(monkeypatch):
    def lacking(weight):
        raise RuntimeError("no bfloat16")

    monkeypatch.setitem(torch_kernels._KERNELS, "fp16", lacking)
    with pytest.raises(InputError, match="bfloat16 products do not run on cpu: no bfloat16"):
        usable_formats(GEOMETRY, WORK, CPU)


PACE = Pace(build_s=1e-9, flops=1e14, bandwidth=1e12, start_us=5.0, flush_s=1e-4)


def test_the_estimate_grows_with_what_is_to_be_done(monkeypatch):
    monkeypatch.setattr(torch_profiling, "pace_of", lambda device: PACE)
    keys = torch_operators(GEOMETRY, WORK, ["fp16", "w8a8", "fp8"])

    def seconds(keys=keys, plans=4, **effort):
        return estimate_s(GEOMETRY, WORK, keys, plans, CPU, Effort(**effort))

    assert 0 < seconds() < seconds(rounds=20) < seconds(rounds=20, sessions=9)
    assert seconds(keys[:5]) < seconds() < seconds(plans=40)


def test_llada_s_operators_and_time_at_a_data_centre_gpu_s_pace(monkeypatch):
    """The count for the whole model, without a GPU: well below the eight minutes promised."""
    monkeypatch.setattr(torch_profiling, "pace_of", lambda device: PACE)
    llada = Geometry(126464, 4096, 32, 32, 32, 128, 12288)
    work = Workload(128, Decoding(gen_length=128, block_length=32, steps=128, refresh_interval=8))
    keys = torch_operators(llada, work, [fmt for fmt in FORMATS if fmt != "fp32"])
    assert {(k.in_features, k.out_features) for k in keys if k.kind == "linear"} == {
        (4096, 12288), (4096, 4096), (4096, 24576), (12288, 4096), (4096, 126464)
    }  # fmt: skip
    assert 30 < estimate_s(llada, work, keys, 18, CPU, Effort()) < 480


def test_a_pace_is_measured():
    pace = pace_of(CPU)
    assert min(pace.build_s, pace.flops, pace.bandwidth, pace.start_us) > 0
    assert pace.flush_s == 0.0
    assert pace.operator_us(EXAMPLES["linear"]) > pace.start_us


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_runtime_is_refused():
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        torch_device(TORCH_CUDA)
