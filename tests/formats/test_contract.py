"""Every format keeps the contract that a new one is held to."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from hwsearch.formats.blocks import BlockFormat
from hwsearch.formats.catalog import FORMATS, ONNX_FORMATS, USUAL_FORMATS, format_of
from hwsearch.plan import WeightFormat
from hwsearch.testing.format import FormatContract, product_graph, seeded_linear


@pytest.mark.parametrize("name", list(FORMATS))
class TestEvery(FormatContract):
    @pytest.fixture(autouse=True)
    def of(self, name):
        self.name = name

    def make(self):
        return format_of(self.name)


def test_every_name_of_a_plan_has_a_format_and_the_first_is_uncompressed():
    assert list(FORMATS) == list(WeightFormat)
    assert ONNX_FORMATS[0] is WeightFormat.FP32 and set(USUAL_FORMATS) <= set(ONNX_FORMATS)
    sizes = [form.matrix_bytes(64, 64) for form in FORMATS.values()]
    assert sizes[0] == max(sizes)


def test_a_simulation_that_is_off_by_one_code_is_noticed():
    """The contract can fail: weights of one block moved by the last place of eight bits."""

    class Wrong(BlockFormat):
        def simulate(self, linear):
            moved = torch.nn.Linear(linear.in_features, linear.out_features, bias=False)
            moved.weight.data = linear.weight.detach().clone()
            moved.weight.data[0, :32] += linear.weight.detach()[0, :32].abs().max() / 127
            return super().simulate(moved)

    class Held(FormatContract):
        def make(self):
            return Wrong(8)

    with pytest.raises(AssertionError):
        Held().test_the_simulation_is_the_kernel()


def test_importing_facts_imports_no_torch():
    code = (
        "import sys, hwsearch.formats.catalog; print('torch' in sys.modules, 'onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_graph_of_one_product_multiplies():
    linear = seeded_linear(8, 4)
    session = onnxruntime.InferenceSession(product_graph(linear).SerializeToString())
    x = np.ones((1, 2, 8), dtype=np.float32)
    expected = linear(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(session.run(None, {"x": x})[0], expected, atol=1e-6)
