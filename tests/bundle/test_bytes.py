"""What a plan says it takes is what its files hold: in total, and for a tied head."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from hwsearch.bundle import Exporter, write_bundle
from hwsearch.compression import WeightBank, WeightCalibration, compress, noisy_passes
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.network import OwnNetwork
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.providers import CPU
from hwsearch.testing.tiny import tiny_denoiser, tiny_geometry, tiny_tokenizer

VOCAB = 512
SHAPES = {
    "tied, odd": {"hidden": 100, "heads": 5, "tie_embeddings": True},
    "untied, biased, normed, grouped": {"qkv_bias": True, "qk_norm": True, "grouped": True},
}
#: Attention and mlp in one format, the head in another.
PLANS = [("fp32", "fp32"), ("w8a8", "w8a8"), ("w8", "fp32"), ("w4", "w4"), ("w4", "w8")]


def denoiser_of(**shape):
    """A random denoiser with a vocabulary that weighs something."""
    geometry = tiny_geometry(vocab_size=VOCAB, **({"hidden": 160, "heads": 5} | shape))
    torch.manual_seed(0)
    network = Transformer(geometry).eval().requires_grad_(False)
    for weight in network.parameters():
        weight.normal_()  # all different: equal arrays of a file are written once
    return replace(tiny_denoiser(), network=network, tokenizer=tiny_tokenizer(VOCAB))


@pytest.fixture(scope="module", params=SHAPES)
def exporter(request):
    return Exporter(denoiser_of(**SHAPES[request.param]))


def held_bytes(folder):
    """Bytes of all weights of a bundle: those in a file of their own, and those in its graphs."""
    inner = {}
    for path in folder.glob("*.onnx"):
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            whole = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8)
            if whole and not tensor.external_data:
                inner[tensor.name] = onnx.numpy_helper.to_array(tensor).nbytes
    return (folder / "weights.bin").stat().st_size + sum(inner.values())


def test_files_hold_what_the_plan_says(exporter, tmp_path):
    network = exporter._network
    denoiser = replace(tiny_denoiser(), network=network, tokenizer=tiny_tokenizer(VOCAB))
    for index, (inner, head) in enumerate(PLANS):
        plan = CompressionPlan.uniform(2, inner, inner, head=head)
        bundle = exporter.export(
            compress(denoiser, plan), KeptShares.keeping_all(2), tmp_path / str(index)
        )
        said = denoiser.plan_bytes(plan)
        assert held_bytes(bundle.path) == pytest.approx(said, rel=0.02), (inner, head)
        rest = bundle.manifest.figures.size_bytes - (bundle.path / "weights.bin").stat().st_size
        assert rest < 100_000, "graphs, with arrays below a kilobyte, and tokenizer"
        assert bundle.size_bytes == bundle.manifest.figures.size_bytes


def test_files_hold_what_a_pruned_plan_says(tmp_path):
    denoiser = denoiser_of(tie_embeddings=True, heads=4)
    layer = {"kept_heads": 2, "kept_channels": 96, "attention": "w8a8", "mlp": "w4"}
    apart = {"qkv": "w8", "out": "w8a8", "gate_up": "w8a8", "down": "w4"}
    plan = CompressionPlan.validate({"layers": [layer, apart], "head": "w8"})
    sequences = [([10, 11, 12, 13], list(range(20, 28)))]
    calibration = WeightCalibration(denoiser, noisy_passes(denoiser, sequences, times=(0.5,)))
    compressed = compress(denoiser, plan, WeightBank(denoiser, calibration))
    bundle = write_bundle(compressed, KeptShares.keeping_all(2), tmp_path / "bundle")
    assert held_bytes(bundle.path) == pytest.approx(denoiser.plan_bytes(plan), rel=0.02)


def test_a_tied_float_head_is_the_embedding_read_across(exporter, tmp_path):
    network = exporter._network
    if not network.geometry.tie_embeddings:
        pytest.skip("of tied heads")
    denoiser = replace(tiny_denoiser(), network=network, tokenizer=tiny_tokenizer(VOCAB))
    plan = CompressionPlan.uniform(2)
    path = exporter.export(
        compress(denoiser, plan), KeptShares.keeping_all(2), tmp_path / "bundle"
    ).path
    (graphs,) = exporter._graphs.values()
    whole = graphs.refresh(frozenset()).whole()
    sizes = [tuple(tensor.dims) for tensor in whole.graph.initializer]
    assert {(VOCAB, 100), (100, VOCAB)} <= set(sizes), "traced, they are two"
    stored = onnx.load(path / "refresh.onnx", load_external_data=False)
    assert (100, VOCAB) not in {tuple(tensor.dims) for tensor in stored.graph.initializer}
    feeds = {"tokens": np.random.default_rng(0).integers(0, VOCAB, (1, 13)), "start": np.array(3)}
    plain = ort.InferenceSession(str(path / "refresh.onnx"))
    wanted = CPU.open(whole.SerializeToString(), 1).run(None, feeds)
    for session in (plain, CPU.open(path / "refresh.onnx", 1)):
        for ours, theirs in zip(session.run(None, feeds), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


class Own(nn.Module):
    """A module of one's own with a position table as a buffer, and a head that may be tied."""

    def __init__(self, tied):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 96)
        self.blocks = nn.ModuleList(nn.Linear(96, 96) for _ in range(2))
        self.head = nn.Linear(96, VOCAB, bias=False)
        if tied:
            self.head.weight = self.embed.weight
        self.register_buffer("places", torch.randn(64, 96))

    def forward(self, tokens):
        x = self.embed(tokens) + self.places[: tokens.shape[1]]
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.head(x)


@pytest.mark.parametrize(
    ("tied", "head"), [(True, "fp32"), (True, "w4"), (False, "fp32"), (False, "w8a8")]
)
def test_files_of_ones_own_module_hold_what_the_plan_says(tied, head, tmp_path):
    torch.manual_seed(0)
    groups = [{"mlp": [f"blocks.{index}"]} for index in range(2)]
    module = Own(tied).eval().requires_grad_(False)
    network = OwnNetwork(module, groups, "head")
    denoiser = replace(tiny_denoiser(), network=network, tokenizer=tiny_tokenizer(VOCAB))
    plan = CompressionPlan.uniform(2, mlp="w8", head=head)
    bundle = write_bundle(compress(denoiser, plan), KeptShares.keeping_all(2), tmp_path / "bundle")
    assert held_bytes(bundle.path) == pytest.approx(denoiser.plan_bytes(plan), rel=0.02)
