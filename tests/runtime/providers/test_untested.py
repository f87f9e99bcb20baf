"""Providers that nobody has run here: their graphs on onnxruntime's own, and against documented lists."""

import dataclasses
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx.shape_inference import infer_shapes

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.errors import InputError
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.runtime import OnnxBackend, Runtime
from hwsearch.runtime.bundle import REFRESH_FILE, STEP_FILE
from hwsearch.runtime.graphs import BundleGraphs
from hwsearch.runtime.probe import ProbeBackend
from hwsearch.runtime.providers import CPU, PROVIDERS, provider_of
from hwsearch.runtime.providers.shaped import MOST, ShapedSession
from hwsearch.testing.tiny import tiny_denoiser

UNTESTED = [name for name, provider in PROVIDERS.items() if provider.untested]
QUESTION = "tom has 3 apples and buys 4 more ?"

#: What onnxruntime's list of CoreML's operators (ML Program) names, of those in question.
COREML_OPERATORS = {
    "Add", "ArgMax", "Cast", "Concat", "Cos", "Div", "GatherND", "Identity", "MatMul", "Mul", "Range",
    "Reciprocal", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Shape", "Sigmoid", "Sin", "Slice",
    "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip


@pytest.fixture(params=UNTESTED)
def provider(request, monkeypatch):
    """One of them, computed by the CPU provider in its place, whose kernels round inputs of blocks."""
    name = request.param
    here = dataclasses.replace(
        provider_of(name),
        execution=CPU.execution,
        package=CPU.package,
        least="1.0",
        settings={},
        rounds_inputs=True,
    )
    monkeypatch.setitem(PROVIDERS, name, here)
    return here


@pytest.fixture
def bundle(provider, tmp_path):
    """A bundle for it that drops positions of one layer, so that it hands out attention mass."""
    denoiser = tiny_denoiser()
    formats = [fmt for fmt in provider.formats if fmt in CPU.formats]
    layers = [
        {"sink_threshold": 1.0, "attention": formats[0], "mlp": formats[-1]},
        {"sink_threshold": 0.5, "attention": formats[-1], "mlp": formats[0]},
    ]
    plan = CompressionPlan.validate({"layers": layers, "head": formats[0]})
    out = tmp_path / "bundle"
    shares = KeptShares((1.0, 0.6))
    return write_bundle(
        compress(denoiser, plan), shares, out, questions=[QUESTION], provider=provider
    )


@pytest.mark.parametrize("name", UNTESTED)
def test_they_say_that_nobody_has_run_them(name):
    provider = provider_of(name)
    assert "not run on hardware" in provider.untested
    if not provider.is_installed:
        with pytest.raises(InputError, match=rf"{name} is not installed here.*{provider.package}"):
            provider.check()


def test_a_bundle_for_it_computes_what_was_simulated(provider, bundle):
    wrong = [check for check in verify(bundle.path) if check.decides and not check.passed]
    assert wrong == []
    assert Runtime(bundle).generate(QUESTION) is not None


def test_products_of_16_bits_are_such_and_near_what_was_simulated(provider, tmp_path):
    """The CPU multiplies the rounded weights as floats, so here it is near and no more."""
    if WeightFormat.FP16 not in provider.formats:
        pytest.skip("it loads none")
    denoiser, kept = tiny_denoiser(), KeptShares.keeping_all(2)
    compressed = compress(denoiser, CompressionPlan.uniform(2, "fp16", "fp16", head="fp16"))
    bundle = write_bundle(compressed, kept, tmp_path / "b", provider=provider)
    model = onnx.load(bundle.path / REFRESH_FILE)
    kinds = {
        one.name: one.type.tensor_type.elem_type for one in infer_shapes(model).graph.value_info
    }
    half = [node for node in model.graph.node if node.name.endswith("_half")]
    assert len(half) == 2 * 4 + 1 and {node.op_type for node in half} == {"MatMul"}
    assert all(kinds[node.output[0]] == onnx.TensorProto.FLOAT16 for node in half)
    logits = []
    for backend in (ProbeBackend(bundle, threads=1), backend_of(compressed.network, kept)):
        backend.begin()
        with torch.inference_mode():
            tokens = np.arange(2, 22)[None]
            logits.append(np.asarray(backend.refresh_logits(tokens, 8, 12)))
    assert 0 < np.abs(logits[0] - logits[1]).max() <= 5e-3 * np.abs(logits[1]).max()


def test_no_operator_is_left_that_it_has_no_kernel_for(provider, bundle):
    for file in (REFRESH_FILE, STEP_FILE):
        model = onnx.load(bundle.path / file, load_external_data=False)
        found = Counter(node.op_type for node in model.graph.node)
        assert not provider.decomposed & found.keys()
        attention = [node for node in model.graph.node if node.op_type == "Attention"]
        if not provider.hands_out_weights:
            assert not any(len(node.output) == 4 and node.output[3] for node in attention)
            assert attention, "those whose weights nobody wants stay"


def test_sizes_of_a_graph_can_be_fixed(provider, bundle):
    """Nothing is left open by inference of shapes, once the inputs are."""
    if not provider.static_shapes:
        pytest.skip("it takes graphs of free sizes")
    for file in (REFRESH_FILE, STEP_FILE):
        model = onnx.load(fixed(bundle.path / file))
        inferred = infer_shapes(model, strict_mode=True, data_prop=True)
        for value in (*inferred.graph.value_info, *inferred.graph.output):
            dims = value.type.tensor_type.shape.dim
            assert all(dim.HasField("dim_value") for dim in dims), (file, value.name)


def test_coreml_documents_every_operator(bundle, provider):
    if provider.name != "onnxruntime-coreml":
        pytest.skip("it is CoreML's list")
    for file in (REFRESH_FILE, STEP_FILE):
        model = onnx.load(fixed(bundle.path / file))
        assert {node.op_type for node in model.graph.node} <= COREML_OPERATORS


def fixed(path):
    """The graph with sizes as a session of fixed ones has them, what follows from sizes computed."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path.with_suffix(".fixed.onnx"))
    described = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    free = {dim for value in described.get_inputs() for dim in value.shape if isinstance(dim, str)}
    for place, name in enumerate(sorted(free)):
        options.add_free_dimension_override_by_name(name, 24 + place)
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return options.optimized_model_filepath


class Described:
    """A graph of one input, and the sizes at which it was opened."""

    def __init__(self, opened):
        self.opened = opened
        self.name, self.type, self.shape = "x", "tensor(float)", [1, "rows"]

    def get_inputs(self):
        return [self]

    get_outputs = get_inputs

    def at(self, sizes):
        self.opened.append(sizes["rows"])
        return len(self.opened)


class Sized:
    def __init__(self, rows):
        self.shape = (1, rows)


def test_sessions_are_opened_once_a_size_and_the_oldest_is_given_up():
    opened = []
    described = Described(opened)
    session = ShapedSession(described, described.at, {"rows"})
    assert session.at({"x": Sized(3)}) == session.at({"x": Sized(3)}) == 1
    for rows in range(10, 10 + MOST):
        session.at({"x": Sized(rows)})
    assert opened == [3, *range(10, 10 + MOST)]
    session.at({"x": Sized(3)})
    assert opened[-1] == 3, "it was given up and is opened again"


def test_sizes_that_stay_free_open_nothing_anew():
    opened = []
    described = Described(opened)
    described.shape = ["kept", "rows"]
    session = ShapedSession(described, lambda sizes: opened.append(dict(sizes)), {"rows"})
    for kept in (5, 6, 7):
        feed = Sized(3)
        feed.shape = (kept, 3)
        session.at({"x": feed})
    assert opened == [{"rows": 3}]


@pytest.mark.parametrize("window", [{}, {"advance": True}, {"before": 2, "after": 1}], ids=str)
def test_steps_of_a_window_are_opened_for_their_rows_and_write_the_same(
    tmp_path, window, monkeypatch
):
    """Rows are fixed where a provider wants that, but not those of a refresh, nor of a plain step."""
    denoiser, plain = tiny_denoiser(), dataclasses.replace(CPU, least="1.0")
    monkeypatch.setitem(PROVIDERS, CPU.name, plain)
    decoding = denoiser.decoding.changed({"window": window})
    plan = CompressionPlan.uniform(2, "fp32", "fp32").model_copy(update={"decoding": decoding})
    bundle = write_bundle(
        compress(denoiser, plan), KeptShares((1.0, 0.6)), tmp_path / "b", questions=[QUESTION]
    )
    graphs = BundleGraphs(bundle, 1, dataclasses.replace(plain, fixed_rows=True).open)
    assert isinstance(graphs.refresh, ort.InferenceSession)
    assert isinstance(graphs.step, ShapedSession) == bool(window)
    runtime, backend = Runtime(bundle, 1), OnnxBackend(graphs)
    for question in (QUESTION, "ann has 9 pens ?"):
        prompt = runtime.prompt(question)
        tokens = generate(backend, np.array([prompt]), decoding, denoiser.mask_token_id)
        assert tokens[0, len(prompt) :].tolist() == runtime.generate_tokens(prompt)
