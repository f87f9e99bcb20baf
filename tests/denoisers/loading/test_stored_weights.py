"""A model that stays in its files computes, is compressed and is exported as one that was copied."""

import dataclasses

import numpy as np
import pytest
import torch

from hwsearch.bundle import write_bundle
from hwsearch.bundle.gguf import export_gguf
from hwsearch.compression import WeightBank, WeightCalibration, compress, noisy_passes
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.denoisers.large import memory
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError
from hwsearch.formats.linears import stored_linear
from hwsearch.formats.linears.stored_linear import CodedLinear, StoredLinear
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.study.sensitivities import measure_sensitivities
from hwsearch.tasks.losses.kl import FrozenStates
from tests.denoisers.checkpoints import (
    llada_config,
    llada_tensors,
    stock_config,
    stock_model,
    write,
)

HOLD = CodedLinear.hold
SHORT = {"gen_length": 8, "block_length": 4, "steps": 8, "refresh_interval": 2}
TOKENS = torch.from_numpy(np.random.default_rng(0).integers(3, 64, (2, 11)))
MIXED = CompressionPlan.validate(
    {"layers": [{"attention": "w4", "mlp": "w8"}, {"mlp": "w8a8"}, {}], "head": "w8"}
)


@pytest.fixture(autouse=True)
def always_stored(monkeypatch, tmp_path, own_cache):
    """Every model is large, and made of many pieces; each test makes its own codes, and no graph twice."""
    monkeypatch.setattr(memory, "COPIES_SHARE", 0.0)
    monkeypatch.setattr(stored_linear, "AT_ONCE", 48 * 7)
    cache, graphs = tmp_path / "cache", own_cache / "pieces"
    graphs.mkdir(parents=True, exist_ok=True)
    cache.mkdir()
    (cache / "pieces").symlink_to(graphs)
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))


@pytest.fixture(scope="module", params=["llada", "dream", "tied qwen3"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    if request.param == "llada":
        config, tensors = llada_config(), llada_tensors(stock_model("Llama"))
    elif request.param == "dream":
        config = stock_config("Dream", kv_heads=2)
        tensors = dict(stock_model("Qwen2", kv_heads=2).state_dict())
    else:
        config = stock_config("qwen3", kv_heads=2) | {"tie_word_embeddings": True, "head_dim": 12}
        model = stock_model("Qwen3", kv_heads=2, head_dim=12, tie_word_embeddings=True)
        tensors = {n: t for n, t in model.state_dict().items() if n != "lm_head.weight"}
    return write(folder, config, {n: t.to(torch.bfloat16) for n, t in tensors.items()}, shards=2)


def copied(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(memory, "COPIES_SHARE", 1.0)
        return load_denoiser(folder)


def shortly(denoiser):
    """The same, of short answers."""
    return dataclasses.replace(denoiser, decoding=denoiser.decoding.changed(SHORT))


def test_a_stored_model_computes_what_a_copied_one_does(folder, monkeypatch):
    stored, float_copy = load_denoiser(folder), copied(folder, monkeypatch)
    linear = stored.transformer.model.layers[0].mlp.up_proj
    assert isinstance(linear, StoredLinear) and linear.weight.dtype == torch.bfloat16
    wanted = float_copy.logits(TOKENS)
    assert stored.logits(TOKENS).dtype == torch.float32
    torch.testing.assert_close(stored.logits(TOKENS), wanted, rtol=0, atol=1e-5)
    half = load_denoiser(folder, dtype="bfloat16")
    assert half.logits(TOKENS).dtype == torch.bfloat16


def test_codes_compute_what_rounded_weights_do(folder, monkeypatch):
    stored, float_copy = load_denoiser(folder), copied(folder, monkeypatch)
    coded, simulated = compress(stored, MIXED).network, compress(float_copy, MIXED).network
    name = "model.layers.0.self_attn.q_proj"
    assert isinstance(coded.get_submodule(name), CodedLinear)
    for path in (name, "model.layers.0.mlp.down_proj", "model.layers.1.mlp.up_proj", "lm_head"):
        ours, theirs = (network.get_submodule(path) for network in (coded, simulated))
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(coded(TOKENS), simulated(TOKENS), rtol=0, atol=2e-3)


def test_sensitivities_of_a_stored_model_are_those_of_a_copied_one(folder, monkeypatch):
    stored, float_copy = load_denoiser(folder), copied(folder, monkeypatch)
    formats = (WeightFormat.W8, WeightFormat.W4)
    states = FrozenStates.record(float_copy, ["how many ?"])
    wanted, found = (
        measure_sensitivities(one.network, states, formats) for one in (float_copy, stored)
    )
    for choice in ((0, "attention"), (2, "mlp"), (None, "head")):
        for fmt in formats:
            # an input now and then is rounded to the code beside
            assert found.of(*choice, fmt) == pytest.approx(wanted.of(*choice, fmt), rel=0.05)
    assert found.passes > wanted.passes, "formats are in memory one after the other"


def test_codes_are_made_once(folder, monkeypatch, tmp_path):
    first = compress(load_denoiser(folder), MIXED).network(TOKENS)
    monkeypatch.setattr("hwsearch.compression.code_store.CodeStore._make", None)
    bank = WeightBank(load_denoiser(folder))
    again = compress(bank.denoiser, MIXED, bank).network(TOKENS)
    assert torch.equal(first, again)
    assert not [path for path in (tmp_path / "cache").rglob("*") if "making" in path.name]


def test_an_export_of_stored_weights_is_that_of_copies(folder, monkeypatch, tmp_path):
    kept = KeptShares((0.5, 1.0, 1.0))
    bundles = []
    for name, denoiser in (("a", load_denoiser(folder)), ("b", copied(folder, monkeypatch))):
        asked = compress(shortly(denoiser), MIXED)
        bundles.append(write_bundle(asked, kept, tmp_path / name, questions=["how many apples ?"]))
    for file in ("weights.bin", "refresh.onnx", "step.onnx"):
        assert (bundles[0].path / file).read_bytes() == (bundles[1].path / file).read_bytes()


def test_too_little_memory_is_said_with_the_least_that_would_do(folder):
    with pytest.raises(InputError, match=r"memory must be at least 0\.25 GiB .*; got 0\.00 GiB"):
        ModelOptions(memory="1MB").load(folder)
    with pytest.raises(InputError, match=r"memory: .*could not parse"):
        ModelOptions(memory="some")
    assert ModelOptions(memory="1GiB").memory == 2**30


@pytest.mark.parametrize("bytes_at_once", [0, 1 << 30])
def test_a_loss_of_stored_weights_is_that_of_copies(folder, monkeypatch, bytes_at_once):
    """And each layer becomes floats once for all states that go side by side."""
    questions = ["how many apples ?", "tom has 3 apples", "tom buys 2 more apples"]
    kept = KeptShares((0.5, 1.0, 1.0))
    losses, held = [], []
    monkeypatch.setattr(CodedLinear, "hold", lambda linear: held.append(linear) or HOLD(linear))
    for loaded in (load_denoiser(folder), copied(folder, monkeypatch)):
        denoiser = shortly(loaded)
        states = FrozenStates.record(denoiser, questions, per_question=2)
        states.activations.limit_bytes = bytes_at_once
        losses.append(states.loss(compress(denoiser, MIXED).network, kept))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2) and losses[1] > 1e-3
    rounds = 2 if bytes_at_once else 2 * len(states.states)
    assert len(states.states) > 2
    assert len(held) == rounds * (7 + 3 + 1), "seven linears, three of an mlp, and the head"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_loss_goes_side_by_side_in_half_precision_too(folder, dtype):
    denoiser = shortly(load_denoiser(folder, dtype=dtype))
    states = FrozenStates.record(denoiser, ["how many apples ?", "tom has 3 apples"])
    kept = KeptShares.keeping_all(3)
    own = states.loss(denoiser.network, kept)
    assert 0 <= own < 1e-2 < states.loss(compress(denoiser, MIXED).network, kept)


def test_codes_of_8_bit_floats_are_read_back_from_disk(folder, monkeypatch):
    plan = CompressionPlan.uniform(3, attention="fp8", mlp="fp8", head="fp8")
    stored, float_copy = load_denoiser(folder), copied(folder, monkeypatch)
    with torch.inference_mode():
        wanted = compress(float_copy, plan).network(TOKENS)
        for _ in range(2):  # made, and found
            found = compress(stored, plan).network(TOKENS)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_stored_model_becomes_a_gguf_file_as_a_copied_one_does(folder, monkeypatch, tmp_path):
    pytest.importorskip("gguf")
    plan = CompressionPlan.validate({"layers": [{"qkv": "fp16"}] * 3, "head": "fp16"})
    stored, float_copy = load_denoiser(folder), copied(folder, monkeypatch)
    if stored.geometry.qk_norm:
        pytest.skip("llama.cpp's architectures that are written have no such norms")
    files = [
        export_gguf(compress(denoiser, plan), tmp_path / str(index)).read_bytes()
        for index, denoiser in enumerate((stored, float_copy))
    ]
    assert files[0] == files[1]


def test_a_stored_model_is_rounded_by_calibration_piece_by_piece(folder, monkeypatch, tmp_path):
    plan = MIXED.model_copy(update={"rounding": "calibrated"})
    sequences = [([3, 4, 5], [6 + (7 * i + j) % 50 for j in range(9)]) for i in range(6)]
    networks = []
    for denoiser in map(shortly, (load_denoiser(folder), copied(folder, monkeypatch))):
        passes = noisy_passes(denoiser, sequences)
        bank = WeightBank(denoiser, WeightCalibration(denoiser, passes))
        # each makes its own: the digest of weights is that of the types that they are in
        networks.append(compress(denoiser, plan, bank))
    coded, simulated = networks
    linear = coded.network.get_submodule("model.layers.0.mlp.down_proj")
    assert isinstance(linear, CodedLinear) and linear.rounded is not None
    assert isinstance(next(iter(linear.codes.values())), np.memmap)
    assert isinstance(coded.network.get_submodule("lm_head"), CodedLinear)
    with torch.inference_mode():
        wanted = simulated.network(TOKENS)
        torch.testing.assert_close(coded.network(TOKENS), wanted, rtol=0, atol=0.05)
    bundle = write_bundle(
        coded, KeptShares.keeping_all(3), tmp_path / "b", questions=["how many ?"]
    )
    checks = verify(bundle.path)
    assert all(check.passed for check in checks if check.decides), checks
