"""What every runtime of bundles must do, as tests to inherit.

class TestMine(RuntimeContract):
    def make(self):
        return MY_PROVIDER
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from hwsearch.bundle import write_bundle
from hwsearch.bundle.products import quantise_products
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InputError
from hwsearch.formats.blocks import Blocks
from hwsearch.formats.catalog import format_of
from hwsearch.formats.linears.simulated_linear import SimulatedLinear
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.runtime import Runtime
from hwsearch.runtime.providers import Provider
from hwsearch.testing.format import TOLERANCE, product_graph, seeded_linear
from hwsearch.testing.tiny import tiny_denoiser

QUESTION = "tom has 3 apples and buys 4 more ?"


class RuntimeContract:
    """What exports, tables and sessions rely on. Inherit it, write `make`, and let pytest find the tests.

    Holds each format to what the provider says of it, and a bundle for it to the simulation; all on the
    provider itself, which has to be installed.
    """

    def make(self) -> Provider:
        """The provider."""
        raise NotImplementedError("return the provider to test")

    def test_facts_are_told(self) -> None:
        """Names, a package to install, and formats of which the first compresses nothing."""
        provider = self.make()
        assert provider.name.strip() == provider.name
        assert provider.package
        assert provider.processor in ("cpu", "gpu", "npu")
        assert provider.formats[0] in (WeightFormat.FP32, WeightFormat.FP16)
        assert len(set(provider.formats)) == len(provider.formats)

    def test_every_format_is_loaded_and_computed_as_told(self) -> None:
        """A model of one product each, for sizes that fill blocks and sizes that do not."""
        provider = self.make()
        for fmt in provider.formats:
            for inputs, outputs, rows in ((128, 96, 16), (48, 20, 3)):
                form, linear = format_of(fmt), seeded_linear(inputs, outputs)
                x = 3 * torch.randn(1, rows, inputs) * torch.rand(inputs)
                model = quantise_products(product_graph(linear), {"product": fmt})
                found = provider.open(model.SerializeToString(), 1).run(None, {"x": x.numpy()})[0]
                simulated = form.simulate(linear)
                with torch.no_grad():
                    expected = simulated(x).numpy()
                    if isinstance(simulated, SimulatedLinear) and isinstance(form, Blocks):
                        weight = simulated.weight
                        expected = expected if provider.rounds_inputs else (x @ weight.T).numpy()
                error = np.abs(found - expected).max() / np.abs(expected).max()
                assert error <= TOLERANCE, (fmt, error)

    def test_a_bundle_for_it_computes_what_was_simulated(self, tmp_path: Path) -> None:
        """Mixed formats, dropped positions, every check of `hwsearch verify`."""
        provider, denoiser = self.make(), tiny_denoiser()
        formats = provider.formats
        layers = [
            {"sink_threshold": 1.0, "attention": formats[0], "mlp": formats[len(formats) // 2]},
            {"sink_threshold": 0.5, "attention": formats[-1], "mlp": formats[1]},
        ]
        plan = CompressionPlan.validate({"layers": layers, "head": formats[0]})
        bundle = write_bundle(
            compress(denoiser, plan),
            KeptShares((1.0, 0.6)),
            tmp_path / "bundle",
            questions=[QUESTION],
            provider=provider,
        )
        assert bundle.manifest.runtime == provider.name
        wrong = [check for check in verify(bundle.path) if check.decides and not check.passed]
        assert wrong == []
        assert Runtime(bundle, provider=provider.name).generate(QUESTION) is not None

    def test_no_node_runs_elsewhere(self) -> None:
        """A graph of a node that it does not run is refused by the node's name."""
        provider, model = self.make(), stranger()
        if provider.is_default:  # what others do not run falls to it
            return
        try:
            provider.open(model.SerializeToString(), 1)
        except InputError as error:
            assert "stranger" in str(error)
        else:
            raise AssertionError("a node of which the provider knows nothing was run")


def stranger() -> onnx.ModelProto:
    """A graph of which one node, ``stranger``, has a kernel on onnxruntime's own provider alone."""
    node = helper.make_node("MatMulIntegerToFloat", ["a", "b", "s", "s"], ["y"], "stranger")
    node.domain = "com.microsoft"
    graph = helper.make_graph(
        [node],
        "stranger",
        [
            helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 4]),
            helper.make_tensor_value_info("b", TensorProto.UINT8, [4, 4]),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
