import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwsearch.bundle import products
from hwsearch.bundle.products import check_formats, product_formats, quantise_products
from hwsearch.errors import PlanError
from hwsearch.plan import CompressionPlan, WeightFormat


def linear_model() -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.eye(32, 16, dtype=np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None, 16])
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def test_every_product_has_the_format_of_its_group():
    plan = CompressionPlan.validate({"layers": [{"attention": "w4", "mlp": "w8"}], "head": "w8a8"})
    assert product_formats(plan) == {
        "layers.0.qkv": "w4",
        "layers.0.out": "w4",
        "layers.0.gate_up": "w8",
        "layers.0.down": "w8",
        "head": "w8a8",
    }


def test_a_product_left_in_float_is_noticed():
    with pytest.raises(AssertionError, match="product must be MatMulInteger"):
        check_formats(linear_model(), {"product": WeightFormat.W8A8})


def test_the_source_graph_is_left_alone():
    model = linear_model()
    before = model.SerializeToString()
    quantise_products(model, {"product": WeightFormat.W8})
    assert model.SerializeToString() == before


def test_the_root_logger_is_left_alone():
    before = (list(logging.root.handlers), logging.root.level, logging.root.manager.disable)
    quantise_products(linear_model(), {"product": WeightFormat.W4})
    assert before == (
        list(logging.root.handlers),
        logging.root.level,
        logging.root.manager.disable,
    )


def test_a_format_that_onnxruntime_does_not_run_is_refused_by_product(monkeypatch):
    without = tuple(fmt for fmt in products.ONNX_FORMATS if fmt is not WeightFormat.FP16)
    monkeypatch.setattr(products, "ONNX_FORMATS", without)
    with pytest.raises(PlanError, match=r"product: format must be one of fp32, .*got 'fp16'"):
        quantise_products(linear_model(), {"product": WeightFormat.FP16})
