"""Checkpoints in half precision: read, judged, looked at, and exported as float32 or not at all."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from hwsearch.bundle.exporter import write_bundle
from hwsearch.compression.bank import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.engine import Runtime
from hwsearch.sinks.profile import calibrate_sinks
from hwsearch.sinks.trajectory import record_sinks
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.testing.tiny import tiny_denoiser

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
QUESTION = "how many ?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny model saved in either kind of half precision."""
    tiny = tiny_denoiser()
    g = tiny.geometry
    config = {
        "model_type": "llama",
        "vocab_size": g.vocab_size,
        "hidden_size": g.hidden_size,
        "num_hidden_layers": g.num_layers,
        "num_attention_heads": g.num_heads,
        "num_key_value_heads": g.num_kv_heads,
        "head_dim": g.head_dim,
        "intermediate_size": g.intermediate_size,
        "rope_theta": g.rope_theta,
        "rms_norm_eps": g.rms_norm_eps,
        "tie_word_embeddings": g.tie_embeddings,
        "mask_token_id": tiny.mask_token_id,
        "eos_token_id": tiny.end_token_id,
        "hwsearch": {"decoding": tiny.decoding.model_dump(mode="json")},
    }
    made = {}
    for name, dtype in HALVES.items():
        folder = made[name] = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text(json.dumps(config | {"dtype": name}))
        tiny.tokenizer.save(str(folder / "tokenizer.json"))
        tensors = {n: t.to(dtype).clone() for n, t in tiny.network.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
    return made


def initializer_types(path):
    model = onnx.load(path, load_external_data=False)
    return {tensor.data_type for tensor in model.graph.initializer}


def test_a_half_precision_file_is_exported_in_float32(tmp_path, folders):
    denoiser = load_denoiser(folders["bfloat16"])
    assert {weight.dtype for weight in denoiser.network.parameters()} == {torch.float32}
    layers = denoiser.num_layers
    compressed = compress(denoiser, CompressionPlan.uniform(layers, "fp32"))
    bundle = write_bundle(
        compressed, KeptShares.keeping_all(layers), tmp_path / "b", questions=[QUESTION]
    )
    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    for file in ("refresh.onnx", "step.onnx"):
        assert not initializer_types(bundle.path / file) & halves
        onnxruntime.InferenceSession(bundle.path / file)  # anybody's session
    runtime = Runtime(bundle)
    reference = bundle.manifest.reference[0]
    assert tuple(runtime.generate_tokens(runtime.prompt(QUESTION))) == reference.tokens


@pytest.mark.parametrize("fmt", ["fp32", "w8a8", "w4"])
@pytest.mark.parametrize("name", HALVES)
def test_a_model_that_computes_in_half_is_refused_before_anything_is_written(
    tmp_path, folders, name, fmt
):
    denoiser = load_denoiser(folders[name], dtype=name)
    layers = denoiser.num_layers
    compressed = compress(denoiser, CompressionPlan.uniform(layers, fmt))
    with pytest.raises(InputError, match=rf"computes in {name}.*dtype='float32'"):
        write_bundle(compressed, KeptShares.keeping_all(layers), tmp_path / "new" / "b")
    assert list(tmp_path.iterdir()) == []


def test_one_half_tensor_is_enough_to_refuse(tmp_path, folders):
    denoiser = load_denoiser(folders["bfloat16"])
    denoiser.network.model.norm.half()
    plan = CompressionPlan.uniform(denoiser.num_layers, "fp32")
    with pytest.raises(InputError, match="computes in float16"):
        write_bundle(
            compress(denoiser, plan), KeptShares.keeping_all(denoiser.num_layers), tmp_path / "b"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HALVES)
def test_losses_and_sinks_of_a_model_that_computes_in_half(folders, name):
    """Near those of the same weights in float32: half precision rounds, it does not change them."""
    wide = load_denoiser(folders[name])
    half = replace(load_denoiser(folders[name], dtype=name), decoding=wide.decoding)
    plan = CompressionPlan.uniform(wide.num_layers, "w4")
    kept = KeptShares((0.5,) * wide.num_layers)
    losses = []
    for denoiser in (wide, half):
        states = FrozenStates.record(denoiser, [QUESTION, "4 + 4 ?"])
        same = states.loss(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
        assert same == pytest.approx(0, abs=1e-3)
        losses.append(states.loss(compress(denoiser, plan).network, kept))
    assert np.isfinite(losses).all()
    assert losses[1] == pytest.approx(losses[0], rel=0.5, abs=0.01)
    assert record_sinks(half, [QUESTION]) is not None
    calibrate_sinks(half, [QUESTION])
