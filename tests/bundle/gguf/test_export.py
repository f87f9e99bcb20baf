"""A GGUF file holds what the plan's simulation computes with, and says what llama.cpp asks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwsearch.bundle.gguf import export_gguf, gguf_network
from hwsearch.compression import WeightBank, WeightCalibration, compress, noisy_passes
from hwsearch.denoisers.loading.gguf.header import read_header
from hwsearch.denoisers.loading.gguf.tensors import gguf_name, unpaired
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.own import own_denoiser
from hwsearch.errors import InputError, PlanError
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser

gguf = pytest.importorskip("gguf")

SEQUENCES = [([10, 11, 12, 13], [20 + (i * j) % 40 for j in range(12)]) for i in range(8)]
SHAPE = {"hidden": 128, "heads": 4}
FAMILIES = {
    "llada": {},
    "llada, tied": {"tie_embeddings": True},
    "dream": {"qkv_bias": True, "logit_shift": True, "grouped": True},
    "llama": {"grouped": True},
    "qwen2": {"qkv_bias": True},
}
PLANS = {
    "fp32": {"layers": [{}] * 2},
    "w8": {"layers": [{"attention": "w8", "mlp": "w8"}] * 2, "head": "w8"},
    "mixed": {
        "layers": [
            {"qkv": "w4-asym", "out": "fp16", "gate_up": "w4", "down": "w8-g64"},
            {"qkv": "w8", "out": "w4-g128", "gate_up": "w4-g64-asym", "down": "fp32"},
        ],
        "head": "w4",
    },
}


def denoiser_of(family):
    found = tiny_denoiser(**SHAPE, **FAMILIES[family])
    if family in ("llama", "qwen2"):
        geometry = replace(found.geometry, causal=True, logit_shift=True)
        network = type(found.network)(geometry).eval().requires_grad_(False)
        network.load_state_dict(found.network.state_dict())
        return replace(found, network=network)
    return found


def bank_of(denoiser):
    passes = noisy_passes(denoiser, SEQUENCES, times=(0.3, 0.9))
    return WeightBank(denoiser, WeightCalibration(denoiser, passes))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_tensor_is_the_simulations(family, plan, tmp_path):
    """As the package of llama.cpp's makers reads it."""
    denoiser = denoiser_of(family)
    compressed = compress(denoiser, CompressionPlan.validate(PLANS[plan]))
    path = export_gguf(compressed, tmp_path / "out")
    reader = gguf.GGUFReader(path)
    stored = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    network, g = gguf_network(compressed), denoiser.geometry
    heads = {"attn_q": g.num_heads, "attn_k": g.num_kv_heads}
    paired = family.split(",")[0] in ("llada", "llama")
    shared = g.tie_embeddings and compressed.plan.head == "fp32"
    names = [*dict(denoiser.network.named_parameters(remove_duplicate=False))]
    for name in names:
        if name == "lm_head.weight" and shared:
            assert "output.weight" not in stored
            continue
        module = network.get_submodule(name.rpartition(".")[0])
        wanted = getattr(module, name.rpartition(".")[2]).detach().numpy()
        found = torch.from_numpy(np.array(stored.pop(gguf_name(name)))).reshape(wanted.shape)
        count = heads.get(gguf_name(name).split(".")[-2]) if paired else None
        found = found if count is None else unpaired(found, count)
        np.testing.assert_array_equal(found.numpy(), wanted, err_msg=name)
    assert not stored


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_read_as_the_model_that_was_written(family, tmp_path):
    denoiser = denoiser_of(family)
    out = tmp_path / "out"
    export_gguf(compress(denoiser, CompressionPlan.uniform(2)), out)
    again = load_denoiser(out, causal=denoiser.is_causal)
    assert again.geometry == denoiser.geometry
    assert again.end_token_ids == denoiser.end_token_ids
    if not denoiser.is_causal:
        assert again.mask_token_id == denoiser.mask_token_id
    assert again.tokenizer.encode("tom has 7 apples").ids == [3, 4, 21, 5]
    tokens = torch.arange(2, 20)[None]
    assert torch.equal(again.logits(tokens), denoiser.logits(tokens))
    fields = read_header(out / "model.gguf").metadata
    assert fields.get("general.architecture") == family.split(",")[0]


@pytest.mark.parametrize(("fmt", "number"), [("fp16", 1), ("w8", 7), ("w4", 2), ("w4-asym", 3)])
def test_it_says_which_type_most_weights_have(fmt, number, tmp_path):
    """Else llama.cpp calls the type guessed."""
    plan = CompressionPlan.uniform(2, fmt, fmt, head=fmt)
    written = export_gguf(compress(denoiser_of("llada"), plan), tmp_path / "out")
    assert read_header(written).metadata.get("general.file_type") == number


def test_rounding_a_scale_to_16_bits_is_all_that_differs_from_the_plan():
    denoiser = denoiser_of("llada")
    compressed = compress(denoiser, CompressionPlan.uniform(2, attention="w8", mlp="w4"))
    stored = gguf_network(compressed)
    for path in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        ours, theirs = (n.get_submodule(path).weight for n in (compressed.network, stored))
        assert not torch.equal(ours, theirs)
        assert ((ours - theirs).abs() <= ours.abs() * 2.0**-11).all()


def test_what_was_rounded_by_calibration_and_pruned_is_stored_so(tmp_path):
    denoiser = denoiser_of("llada")
    layer = {"attention": "w4", "mlp": "w4", "kept_heads": 2, "kept_channels": 96}
    plan = CompressionPlan.validate({"layers": [layer] * 2, "rounding": "calibrated"})
    compressed = compress(denoiser, plan, bank_of(denoiser))
    export_gguf(compressed, tmp_path / "out")
    again = load_denoiser(tmp_path / "out")
    stored = gguf_network(compressed)
    assert again.geometry == replace(
        denoiser.geometry, num_heads=2, num_kv_heads=2, intermediate_size=96
    )
    for path in again.network.linear_groups().paths():
        assert torch.equal(
            again.network.get_submodule(path).weight, stored.get_submodule(path).weight
        )
    near = compress(denoiser, plan.model_copy(update={"rounding": "nearest"}), bank_of(denoiser))
    down = "model.layers.0.mlp.down_proj"
    assert not torch.equal(
        near.network.get_submodule(down).weight, compressed.network.get_submodule(down).weight
    )


@pytest.mark.parametrize(("dtype", "kind"), [(torch.bfloat16, "BF16"), (torch.float16, "F16")])
def test_an_embedding_takes_no_more_than_it_needs(dtype, kind, tmp_path):
    denoiser = denoiser_of("llada")
    weight = denoiser.network.model.embed_tokens.weight
    with torch.no_grad():
        weight.copy_(weight.to(dtype).float() * (1 if kind == "F16" else 2.0**70))
    path = export_gguf(compress(denoiser, CompressionPlan.uniform(2)), tmp_path / "out")
    reader = gguf.GGUFReader(path)
    kinds = {t.name: t.tensor_type.name for t in reader.tensors}
    assert kinds["token_embd.weight"] == kind
    found = load_denoiser(path).network.model.embed_tokens.weight
    assert torch.equal(found, weight)


REFUSED = {
    "w8a8": ({"layers": [{}, {"down": "w8a8"}]}, "layers.1.mlp.down_proj: no type .* w8a8; it holds fp32"),
    "w2": ({"layers": [{}, {"qkv": "w2"}]}, "no type of a GGUF file holds w2"),
    "other sizes": (
        {"layers": [{"kept_channels": 96}, {}]},
        "layers.1.kept_channels is None, and 96 in the first layer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_cannot_hold_is_refused_and_nothing_is_written(case, tmp_path):
    data, said = REFUSED[case]
    denoiser = denoiser_of("llada")
    compressed = compress(denoiser, CompressionPlan.validate(data), bank_of(denoiser))
    with pytest.raises(PlanError, match=said):
        export_gguf(compressed, tmp_path / "out")
    assert not [*tmp_path.iterdir()]


def test_blocks_that_do_not_divide_are_refused(tmp_path):
    denoiser = tiny_denoiser(hidden=80, heads=4)
    compressed = compress(denoiser, CompressionPlan.uniform(2, attention="w4"))
    with pytest.raises(PlanError, match="multiples of 32, and there are 80; keep it in fp16"):
        export_gguf(compressed, tmp_path / "out")


def test_models_that_no_architecture_computes_are_refused(tmp_path):
    normed = tiny_denoiser(qk_norm=True)
    with pytest.raises(InputError, match=r"none of llama\.cpp's"):
        export_gguf(compress(normed, CompressionPlan.uniform(2)), tmp_path / "out")
    tiny = tiny_denoiser()
    own = own_denoiser(
        torch.nn.Sequential(torch.nn.Embedding(64, 64), torch.nn.Linear(64, 64)),
        tiny.tokenizer,
        layers=[{"mlp": ["1"]}],
        mask_token_id=0, end_token_id=1, decoding=tiny.decoding,
    )  # fmt: skip
    with pytest.raises(InputError, match="full passes only"):
        export_gguf(compress(own, CompressionPlan.uniform(1)), tmp_path / "out")


def test_a_folder_that_exists_is_left_alone_unless_asked(tmp_path):
    compressed = compress(denoiser_of("llada"), CompressionPlan.uniform(2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_gguf(compressed, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    export_gguf(compressed, tmp_path / "out", overwrite=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "model.gguf", "plan.json", "tokenizer.json",
    ]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    compressed = compress(denoiser_of("llada"), CompressionPlan.uniform(2))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_ti_data_to_file", full)
    with pytest.raises(OSError, match="No space"):
        export_gguf(compressed, tmp_path / "out")
    assert not [*tmp_path.iterdir()]


def test_the_missing_package_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    compressed = compress(denoiser_of("llada"), CompressionPlan.uniform(2))
    with pytest.raises(InputError, match=r'pip install "hwsearch\[gguf\]"'):
        export_gguf(compressed, tmp_path / "out")
