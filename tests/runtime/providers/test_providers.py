"""Every provider that is installed, held to the contract; and what the others say."""

import dataclasses

import pytest

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.formats.catalog import ONNX_FORMATS
from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers import CPU, PROVIDERS, exporting_for, provider_of
from hwsearch.testing import RuntimeContract


def usable(provider):
    try:
        provider.check()
    except InputError as why:
        pytest.skip(f"{why}; make test-openvino has one")
    return provider


class TestCpu(RuntimeContract):
    def make(self):
        return usable(CPU)

    def test_it_loads_every_format_that_graphs_can_be_in(self):
        """But 16-bit floats, for which it has no kernel."""
        assert {*CPU.formats} == {*ONNX_FORMATS} - {WeightFormat.FP16}


class TestOpenVino(RuntimeContract):
    def make(self):
        return usable(provider_of("onnxruntime-openvino"))


def test_what_is_too_old_says_what_it_needs():
    later = dataclasses.replace(CPU, least="99.0")
    with pytest.raises(
        InputError, match=r"onnxruntime-cpu needs onnxruntime 99.0 or later, and this is"
    ):
        later.open(b"", None)


@pytest.mark.parametrize("name", PROVIDERS)
def test_names_find_them(name):
    assert provider_of(name).name == name == exporting_for(name).name


def test_an_unknown_name_is_told_with_those_that_are_known():
    with pytest.raises(UnknownNameError, match=r"unknown runtime 'onnxruntime-vulkan'"):
        provider_of("onnxruntime-vulkan")
    assert exporting_for("llama.cpp-metal") is CPU


def test_what_is_not_installed_says_which_package_to_install():
    missing = dataclasses.replace(CPU, name="mine", execution="MineProvider", package="ort-mine")
    with pytest.raises(
        InputError, match=r"mine is not installed here.*CPUExecutionProvider.*ort-mine"
    ):
        missing.open(b"", None)
