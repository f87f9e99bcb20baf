"""The contract of a weight format, as tests to inherit.

class TestMine(FormatContract):
    def make(self):
        return MyFormat()
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from hwsearch.bundle.products import quantise_products
from hwsearch.formats.weight_format import Format
from hwsearch.runtime.providers import CPU

#: How far kernel and simulation may be apart, as a share of the largest output: sums in another order.
TOLERANCE = 4e-6

#: Where outputs are rounded to 16-bit floats: the distance of two neighbours, as a share of them, and
#: the least share of outputs that are the very same.
HALF_PLACE, FEWEST_ALIKE = 2.0**-10, 0.97

Array = NDArray[np.float32]


class FormatContract:
    """What plans, tables and exports rely on. Inherit it, write `make`, and let pytest find the tests.

    Holds the simulation to the kernel in a session without options, bytes to what a graph takes,
    and facts to each other.
    """

    def make(self) -> Format:
        """The format."""
        raise NotImplementedError("return the format to test")

    def test_facts_are_told(self) -> None:
        """A listing has a line for it, and a weight takes at least its bits."""
        form = self.make()
        assert form.text.strip()
        assert "\n" not in form.text
        assert form.bits > 0
        assert form.bytes_per_weight >= form.bits / 8
        assert form.mac_pj > 0

    def test_the_simulation_is_the_kernel(self) -> None:
        """In a plain session, for sizes that fill blocks and sizes that do not."""
        form = self.make()
        for inputs, outputs, rows in ((64, 96, 16), (48, 20, 3), (33, 7, 1)):
            if form.operator is None:  # onnxruntime runs no such product
                continue
            linear = seeded_linear(inputs, outputs)
            x = 3 * torch.randn(1, rows, inputs) * torch.rand(inputs)
            model = quantise_products(product_graph(linear), {"product": form.name})
            expected = kernel_outputs(form, model, x.numpy())
            with torch.no_grad():
                found = form.simulate(linear)(x).numpy()
            assert_alike(form, found, expected)

    def test_bytes_are_those_of_the_graph(self) -> None:
        """Weights, scales and zero points of a quantised product, nothing forgotten."""
        form = self.make()
        if form.operator is None:
            return
        model = quantise_products(product_graph(seeded_linear(80, 24)), {"product": form.name})
        held = sum(numpy_helper.to_array(one).nbytes for one in model.graph.initializer)
        assert form.matrix_bytes(24, 80) == held

    def test_it_says_whether_one_large_input_costs_the_others_their_precision(self) -> None:
        """Searches tell linears apart by `Format.rounds_inputs_whole`."""
        form = self.make()
        x = torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 64)
        spiked = x.clone()
        spiked[0, 0, 0] = 1e4
        alike = torch.equal(form.round_inputs(x)[0, 1:], form.round_inputs(spiked)[0, 1:])
        assert form.rounds_inputs_whole != alike

    def test_the_linear_is_left_as_it_was(self) -> None:
        """And its bias is added unrounded."""
        form = self.make()
        linear = nn.Linear(32, 8)
        before = linear.weight.clone()
        with torch.no_grad():
            at_zero = form.simulate(linear)(torch.zeros(1, 2, 32))
        assert torch.equal(at_zero[0, 0], linear.bias.detach())
        assert torch.equal(linear.weight, before)


def kernel_outputs(form: Format, model: onnx.ModelProto, x: Array) -> Array:
    """What a plain session computes; of a format without a kernel on the CPU what ONNX defines.

    There onnxruntime leaves out the rounding, and multiplies floats.
    """
    if form.name in CPU.formats:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return cast("Array", session.run(None, {"x": x})[0])
    outputs = cast("list[Array]", ReferenceEvaluator(model).run(None, {"x": x}))
    return outputs[0]


def assert_alike(form: Format, found: Array, expected: Array, tolerance: float = TOLERANCE) -> None:
    """Outputs of a simulation are those of a kernel, but for the order of sums.

    Where outputs are rounded, a sum beside a tie may fall on its other side: some are then a place apart.

    Args:
        form: the format that both compute in.
        found, expected: outputs of the same shape.
        tolerance: as a share of the largest output.
    """
    off = np.abs(found - expected)
    close = off <= tolerance * np.abs(expected).max()
    if form.rounds_outputs:
        assert close.mean() >= FEWEST_ALIKE
        close |= off <= np.abs(expected) * HALF_PLACE
    assert close.all()


def seeded_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear without bias, the same every time; torch's global random state is left behind it."""
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=False)


def product_graph(linear: nn.Linear) -> onnx.ModelProto:
    """A graph of one product, ``[1, rows, in] -> [1, rows, out]``, whose node is called ``product``."""
    weight = numpy_helper.from_array(linear.weight.detach().t().contiguous().numpy(), "w")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, linear.in_features])]
    shape = [1, None, linear.out_features]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "product", inputs, outputs, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
