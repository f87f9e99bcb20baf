import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from hwsearch.bundle.products import quantise_products
from hwsearch.formats.catalog import simulate
from hwsearch.formats.w8a8 import round_samples
from hwsearch.plan import WeightFormat

QUANTISED = [WeightFormat.W8A8, WeightFormat.W8, WeightFormat.W4]


def product_model(linear: nn.Linear) -> onnx.ModelProto:
    weight = numpy_helper.from_array(linear.weight.detach().t().contiguous().numpy(), "w")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, linear.in_features])]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None, linear.out_features])
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "g", inputs, outputs, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize("fmt", QUANTISED)
@pytest.mark.parametrize(("inputs", "outputs", "rows"), [(64, 96, 16), (48, 20, 3)])
def test_simulation_is_onnxruntime(fmt, inputs, outputs, rows):
    torch.manual_seed(0)
    linear = nn.Linear(inputs, outputs, bias=False)
    x = 3 * torch.randn(1, rows, inputs) * torch.rand(inputs)
    model = quantise_products(product_model(linear), {"product": fmt})
    session = ort.InferenceSession(model.SerializeToString())
    expected = session.run(None, {"x": x.numpy()})[0]
    with torch.no_grad():
        simulated = simulate(linear, fmt)(x).numpy()
        exact = linear(x).numpy()
    size = np.abs(exact).max()
    assert np.abs(simulated - expected).max() <= 2e-6 * size
    assert np.abs(exact - expected).max() > 2e-3 * size


def test_fp16_rounds_weights_inputs_and_outputs_and_survives_large_inputs():
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    half = simulate(linear, WeightFormat.FP16)
    x = torch.randn(1, 5, 64)
    with torch.no_grad():
        exact = nn.functional.linear(x.half().double(), linear.weight.half().double())
        found = half(x) - linear.bias
        assert torch.allclose(found.double(), exact, rtol=2**-11, atol=1e-6)
        assert torch.allclose(found, found.half().float(), atol=1e-6), (
            "no more digits than 16 bits hold"
        )
        assert not torch.equal(half(x), linear(x))
        assert torch.equal(half(1e30 * x), half(65504 * x.sign())), "inputs are cut off"


def test_a_sum_too_large_for_16_bits_is_no_number_as_in_kernels():
    half = simulate(nn.Linear(64, 1), WeightFormat.FP16)
    half.weight.fill_(1.0)
    assert not torch.isfinite(half(torch.full((1, 1, 64), 2000.0))).any()


def test_fp32_is_the_linear_itself():
    linear = nn.Linear(4, 4)
    assert simulate(linear, WeightFormat.FP32) is linear


@pytest.mark.parametrize("fmt", QUANTISED)
def test_bias_is_added_unrounded_and_the_linear_left_alone(fmt):
    linear = nn.Linear(32, 8)
    before = linear.weight.clone()
    with torch.no_grad():
        at_zero = simulate(linear, fmt)(torch.zeros(1, 2, 32))
    assert torch.equal(at_zero[0, 0], linear.bias.detach())
    assert torch.equal(linear.weight, before)


@pytest.mark.parametrize("fmt", QUANTISED)
def test_all_zero_weights_and_inputs_stay_zero(fmt):
    linear = nn.Linear(32, 8, bias=False)
    nn.init.zeros_(linear.weight)
    assert torch.equal(simulate(linear, fmt)(torch.ones(1, 2, 32)), torch.zeros(1, 2, 8))


def test_a_sample_is_rounded_the_same_alone_and_in_a_batch():
    x = torch.randn(3, 5, 32) * torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    together = round_samples(x)
    for index in range(3):
        assert torch.equal(together[index : index + 1], round_samples(x[index : index + 1]))
