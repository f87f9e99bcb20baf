"""A folder of compressed-tensors loads in transformers and computes what was simulated."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hwsearch.bundle.compressed_tensors import export, export_compressed_tensors, stored_network
from hwsearch.bundle.compressed_tensors.schemes import tensors_of
from hwsearch.cli.bundles.export import command
from hwsearch.compression import WeightBank, WeightCalibration, compress, noisy_passes
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError, PlanError
from hwsearch.formats.blocks import Blocks
from hwsearch.formats.catalog import FORMATS, format_of
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import character_denoiser

SEQUENCES = [([10, 11, 12, 13], [20 + (i * j) % 40 for j in range(12)]) for i in range(8)]
FAMILIES = {
    "llama": {},
    "tied": {"tie_embeddings": True},
    "grouped": {"kv_heads": 2},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
}
PLANS = {
    "fp32": {"layers": [{}] * 2},
    "w8a8": {"layers": [{"attention": "w8a8", "mlp": "w8a8"}] * 2, "head": "w8a8"},
    "mixed": {
        "layers": [
            {"qkv": "w4", "out": "w8a8", "gate_up": "w8-g64", "down": "fp8"},
            {"qkv": "w8a8", "out": "w2", "gate_up": "w8a8", "down": "w4-g128"},
        ],
        "head": "w8",
    },
}


def compressed_of(family="llama", plan="mixed", rounding="nearest", **shape):
    denoiser = tiny_denoiser(**{"hidden": 128, "heads": 4, **FAMILIES[family], **shape})
    passes = noisy_passes(denoiser, SEQUENCES, times=(0.3, 0.9))
    bank = WeightBank(denoiser, WeightCalibration(denoiser, passes))
    document = PLANS[plan] | ({} if plan == "fp32" else {"rounding": rounding})
    return compress(denoiser, CompressionPlan.validate(document), bank)


def loaded(folder):
    pytest.importorskip("compressed_tensors", reason='pip install "hwsearch[compressed-tensors]"')
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model, tokens):
    """A mask of one's own keeps transformers from hiding what stands to the right."""
    length = tokens.shape[1]
    with torch.inference_mode():
        return model(tokens, attention_mask=torch.zeros(len(tokens), 1, length, length)).logits


def divergence(wanted, found):
    wanted, found = wanted.log_softmax(-1), found.log_softmax(-1)
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


@pytest.mark.parametrize("rounding", ["nearest", "calibrated"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_computes_what_was_simulated(family, plan, rounding, tmp_path):
    compressed = compressed_of(family, plan, rounding)
    model = loaded(export_compressed_tensors(compressed, tmp_path / "out"))
    tokens = torch.randint(0, 60, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stored = stored_network(compressed.network)(tokens)
    # a code of inputs falls to the other side now and then, and random layers make much of it
    assert divergence(stored, logits(model, tokens)) < (1e-6 if plan == "fp32" else 1e-3)
    # inputs rounded by row are nearer to floats than those rounded by sample
    assert divergence(compressed.network(tokens), logits(model, tokens)) < 0.02


@pytest.mark.parametrize("fmt", [fmt for fmt, form in FORMATS.items() if isinstance(form, Blocks)])
def test_the_librarys_own_decompressor_reads_every_kind_of_block(fmt):
    """With zero points, too: of these transformers 5.23 takes the shape for that of unpacked ones."""
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme

    from hwsearch.bundle.compressed_tensors.schemes import scheme_of

    form, matrix = (
        format_of(fmt),
        np.random.default_rng(0).standard_normal((256, 24)).astype(np.float32),
    )
    codes = form.encode(matrix)
    scheme = QuantizationScheme(**(scheme_of(fmt) | {"targets": ["x"]}))
    state = tensors_of(fmt, codes, 256)
    found = PackedQuantizationCompressor.decompress(state, scheme)["weight"].numpy()
    np.testing.assert_allclose(found, form.decode(codes, 256), rtol=1e-6, atol=1e-7)


def test_what_is_left_uncompressed_is_listed_and_groups_name_their_linears(tmp_path):
    folder = export_compressed_tensors(compressed_of(), tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    told = config["quantization_config"]
    assert told["quant_method"] == "compressed-tensors" and told["format"] == "mixed-precision"
    targets = [path for group in told["config_groups"].values() for path in group["targets"]]
    assert len(targets) == len(set(targets)) == 15 and told["ignore"] == []
    assert "model.layers.1.self_attn.o_proj" in targets and "lm_head" in targets
    assert config["mask_token_id"] == 0 and config["is_causal"] is False
    assert {"tokenizer.json", "tokenizer_config.json", "plan.json"} <= {
        p.name for p in folder.iterdir()
    }


def test_large_models_are_written_in_several_files(tmp_path, monkeypatch):
    compressed = compressed_of()
    monkeypatch.setattr(export, "SHARD_BYTES", 100_000)
    folder = export_compressed_tensors(compressed, tmp_path / "out")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(files) > 1 and set(index["weight_map"].values()) == set(files)
    tokens = torch.arange(12)[None]
    with torch.inference_mode():
        stored = stored_network(compressed.network)(tokens)
    assert divergence(stored, logits(loaded(folder), tokens)) < 1e-3


def test_the_tokenizer_is_the_models(tmp_path):
    transformers = pytest.importorskip("transformers")
    compressed = compressed_of()
    folder = export_compressed_tensors(compressed, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "tom has 3 apples"
    own = compressed.denoiser.tokenizer
    assert tokenizer(text)["input_ids"] == own.encode(text).ids
    assert tokenizer.mask_token_id == compressed.denoiser.mask_token_id
    assert tokenizer.eos_token_id == compressed.denoiser.end_token_id


def test_what_the_folder_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    out = tmp_path / "out"
    half = CompressionPlan.validate({"layers": [{"down": "fp16"}, {}]})
    denoiser = tiny_denoiser()
    with pytest.raises(PlanError, match="no scheme for fp16"):
        export_compressed_tensors(compress(denoiser, half), out)
    blocks = CompressionPlan.validate({"layers": [{"qkv": "w4-g128"}, {}]})
    with pytest.raises(
        PlanError, match=r"layers.0.self_attn.q_proj: 64 inputs are no whole blocks of 128"
    ):
        export_compressed_tensors(compress(denoiser, blocks), out)
    bank = WeightBank(denoiser, WeightCalibration(denoiser, noisy_passes(denoiser, SEQUENCES)))
    uneven = CompressionPlan.validate({"layers": [{"kept_channels": 64}, {}]})
    with pytest.raises(PlanError, match="a folder for transformers has one size for all layers"):
        export_compressed_tensors(compress(denoiser, uneven, bank), out)
    own = character_denoiser()
    with pytest.raises(InputError, match="no architecture of transformers"):
        export_compressed_tensors(compress(own, CompressionPlan.uniform(own.num_layers)), out)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_kept(tmp_path):
    compressed = compressed_of(plan="fp32")
    folder = export_compressed_tensors(compressed, tmp_path / "out")
    with pytest.raises(InputError, match="exists"):
        export_compressed_tensors(compressed, folder)
    smaller = replace(compressed, plan=compressed.plan)
    assert export_compressed_tensors(smaller, folder, overwrite=True) == folder


def test_the_command_writes_one(tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(CompressionPlan.uniform(6, "w4", "w8a8", head="w8").to_json())
    asked = ["--model", "gsm-mini", "--plan", str(plan), "--to", "compressed-tensors"]
    done = CliRunner().invoke(command, [*asked, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0 and "for vLLM and transformers" in done.output, done.output
    again = CliRunner().invoke(command, [*asked, "-o", str(tmp_path / "out"), "--json"])
    assert isinstance(again.exception, InputError)


def test_a_trained_model_in_six_formats(tmp_path):
    """Where gsm-mini writes its answer: within a thousandth of a nat of what a search simulates."""
    denoiser = load_denoiser("gsm-mini")
    six = ["fp32", "w8a8", "w8", "w4", "w4-g64", "fp8"]
    layers = [
        dict(zip(("qkv", "out", "gate_up", "down"), six[i:] + six[:i], strict=False))
        for i in range(6)
    ]
    compressed = compress(denoiser, CompressionPlan.validate({"layers": layers, "head": "w8"}))
    model = loaded(export_compressed_tensors(compressed, tmp_path / "out"))
    asked = [problem.question for problem in islice(problems("validation"), 4)]
    parted, moved = [], []
    for question in asked:
        tokens = torch.tensor([denoiser.prompt(question)])
        tokens = torch.cat([tokens, torch.full((1, 48), denoiser.mask_token_id)], dim=1)
        found = logits(model, tokens)[:, -48:]
        with torch.inference_mode():
            parted.append(divergence(stored_network(compressed.network)(tokens)[:, -48:], found))
            moved.append(divergence(compressed.network(tokens)[:, -48:], found))
    assert max(parted) < 1e-5
    assert max(moved) < 1e-3
