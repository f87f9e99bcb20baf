"""Which formats a device offers, and why not the others."""

from dataclasses import replace

import pytest

from hwsearch.formats.catalog import FORMATS
from hwsearch.jobs.format_support import format_support, why_it_does_not_run
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.timing.runtimes import ONNXRUNTIME_CPU, TORCH_CPU, TORCH_CUDA
from hwsearch.plan import WeightFormat


def test_a_timed_format_is_offered_and_of_another_it_says_what_to_do():
    found = {one.name: one for one in format_support(load_device("cpu"))}
    assert list(found) == list(FORMATS)
    offered = {name for name, one in found.items() if one.offered}
    assert offered == {"fp32", "w8a8", "w8", "w4"}
    assert not any(found[name].why_not for name in offered)
    assert found["w2-g64"].why_not == (
        "onnxruntime-cpu runs it here, but it is not timed: "
        "hwsearch profile --device cpu --formats w2-g64"
    )
    assert found["fp16"].why_not == "onnxruntime-cpu has no kernel for it"


def test_what_to_do_names_the_runtime_of_the_device():
    """Else onnxruntime would be timed into a table of torch's."""
    device = load_device("cpu")
    info = device.info.model_copy(update={"runtime": TORCH_CPU.name})
    found = {one.name: one for one in format_support(replace(device, info=info))}
    assert found["fp16"].why_not == (
        "torch-cpu runs it here, but it is not timed: "
        "hwsearch profile --device cpu --runtime torch-cpu --formats fp16"
    )


def test_what_runs_elsewhere_is_timed_by_a_kit():
    device = load_device("cpu")
    info = device.info.model_copy(update={"runtime": "onnxruntime-web"})
    found = {one.name: one for one in format_support(replace(device, info=info))}
    assert found["w2"].why_not == (
        "onnxruntime-web loads it, but it is not timed: hwsearch profile --kit FOLDER "
        "--for onnxruntime-web --formats w2, and --import its results as cpu"
    )
    assert found["fp8"].why_not == "onnxruntime-web has no kernel for it"


def test_a_table_of_others_is_all_that_is_known():
    found = {one.name: one for one in format_support(load_device("rtx-4090"))}
    assert found["w4"].offered
    assert found["w8"].why_not == "nobody published times of it with llama.cpp-cuda"


def test_a_datasheet_says_what_it_has_figures_for():
    found = {one.name: one for one in format_support(load_device("h100-sxm"))}
    assert found["fp8"].offered
    assert found["w2"].why_not == "its datasheet has no figure for it"


@pytest.mark.parametrize("fmt", [f for f in FORMATS if f.value in ONNXRUNTIME_CPU.formats])
def test_onnxruntime_runs_what_it_says_it_runs(fmt):
    assert why_it_does_not_run(ONNXRUNTIME_CPU, fmt) == ""


def test_torch_is_tried_too_and_a_failure_is_told(monkeypatch):
    assert why_it_does_not_run(TORCH_CPU, WeightFormat.FP16) == ""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    why = why_it_does_not_run(TORCH_CUDA, WeightFormat.FP16)
    assert why.startswith(
        "torch-cuda does not run it here: --runtime torch-cuda needs an NVIDIA GPU"
    )
    fewer = replace(TORCH_CUDA, formats=("fp16",))
    assert why_it_does_not_run(fewer, WeightFormat.W4) == "torch-cuda has no kernel for it"


def test_what_a_runtime_raises_is_the_reason(monkeypatch):
    """Whatever its class: onnxruntime's errors share none."""

    class StrangeError(Exception):
        pass

    def refuse(*_arguments, **_options):
        raise StrangeError("no kernel for com.microsoft.MatMulNBits(1)\nand more")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    why = why_it_does_not_run(ONNXRUNTIME_CPU, WeightFormat.W4)
    assert why.endswith("does not run it here: no kernel for com.microsoft.MatMulNBits(1)")
