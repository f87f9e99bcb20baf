"""Runtimes by name: what each loads is what its kernels and quantisers really have."""

import tomllib

import pytest

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.formats.catalog import ONNX_FORMATS
from hwsearch.jobs.profiling import machine
from hwsearch.jobs.profiling.machine import profile_here
from hwsearch.jobs.profiling.request import ProfileRequest
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.devices.places import CHECKOUT
from hwsearch.latency.timing.runtimes import (
    ONNXRUNTIME_CPU,
    RUNTIMES,
    TIMED_HERE,
    TORCH_CPU,
    TORCH_CUDA,
    Engine,
    timed_runtime,
)
from hwsearch.latency.timing.torch.kernels import FORMATS as TORCH_FORMATS

DEVICES = sorted(path.parent.name for path in CHECKOUT.glob("*/device.toml"))


def test_a_runtime_loads_what_its_engine_has():
    assert set(ONNXRUNTIME_CPU.formats) == {fmt.value for fmt in ONNX_FORMATS} - {"fp16"}
    assert TORCH_CPU.formats == TORCH_CUDA.formats == TORCH_FORMATS


def test_names_are_those_that_files_and_flags_always_had():
    known = {"onnxruntime-cpu", "onnxruntime-openvino", "torch-cuda", "torch-cpu"}
    assert known <= TIMED_HERE.keys()
    assert all(name == runtime.name for name, runtime in RUNTIMES.items())


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_of_the_package_is_of_a_known_runtime(name):
    info = load_device(CHECKOUT / name).info
    written = tomllib.loads((CHECKOUT / name / "device.toml").read_text())["runtime"]
    assert info.runtime == written
    assert written in RUNTIMES or written == "none"
    if written in TIMED_HERE:
        loads = timed_runtime(written).formats
        assert {fmt.value for fmt in load_device(CHECKOUT / name).costs.formats()} <= set(loads)


@pytest.mark.parametrize("name", ["llama.cpp-cpu", "onnxruntime", "torch", ""])
def test_what_cannot_be_timed_here_is_refused_by_name(name):
    with pytest.raises(UnknownNameError, match=r"unknown runtime .*known: .*onnxruntime-cpu, "):
        timed_runtime(name)


@pytest.mark.parametrize("runtime", TIMED_HERE.values(), ids=TIMED_HERE)
def test_a_profile_goes_to_the_engine_of_its_runtime(runtime, monkeypatch, tmp_path):
    from hwsearch.jobs.profiling import torch

    asked = []
    monkeypatch.setattr(
        torch, "profile_torch", lambda request, **rest: asked.append((Engine.TORCH, request))
    )
    monkeypatch.setattr(
        machine,
        "_profile_onnxruntime",
        lambda request: asked.append((Engine.ONNXRUNTIME, request)),
    )
    request = ProfileRequest("box", tmp_path, runtime=runtime)
    profile_here(request)
    assert asked == [(runtime.engine, request)]


@pytest.mark.parametrize("runtime", [TORCH_CPU, TORCH_CUDA], ids=lambda r: r.name)
def test_grids_are_for_onnxruntime_alone(runtime, tmp_path):
    request = ProfileRequest("box", tmp_path, grid="rows=1", runtime=runtime)
    with pytest.raises(InputError, match=f"--grid is timed by onnxruntime-cpu; .*{runtime.name}"):
        profile_here(request)
