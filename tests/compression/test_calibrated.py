"""Plans that round by calibration, through the bank."""

import pytest
import torch

from hwsearch.compression import (
    CompressedDenoiser,
    WeightBank,
    WeightCalibration,
    compress,
    noisy_passes,
)
from hwsearch.compression.rounding import CalibratedWeights, calibrated
from hwsearch.errors import InputError, PlanError
from hwsearch.formats.integer_format import RoundedWeight
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser

SEQUENCES = [([10, 11, 12, 13], [20 + (i * j) % 40 for j in range(12)]) for i in range(8)]
TOKENS = torch.arange(12)[None]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSEARCH_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def denoiser():
    return tiny_denoiser()


def bank_of(denoiser):
    return WeightBank(denoiser, WeightCalibration(denoiser, noisy_passes(denoiser, SEQUENCES)))


def plan_of(**fields):
    return CompressionPlan.uniform(2, rounding="calibrated", **fields)


def rounded_of(compressed: CompressedDenoiser, path: str) -> RoundedWeight | None:
    return getattr(compressed.network.get_submodule(path), "rounded", None)


def test_a_plan_that_rounds_to_nearest_says_nothing_of_it():
    plain = CompressionPlan.uniform(1)
    assert "rounding" not in plain.to_json()
    assert CompressionPlan.from_json(plan_of().to_json()) == plan_of()
    assert not plain.needs_calibration and plan_of().needs_calibration
    with pytest.raises(PlanError, match="rounding"):
        CompressionPlan.uniform(1, rounding="best")


def test_calibration_is_asked_for(denoiser):
    with pytest.raises(PlanError, match="rounding 'calibrated' needs calibration"):
        compress(denoiser, plan_of(mlp="w4"))
    with pytest.raises(InputError, match="at least one calibration question"):
        CalibratedWeights(denoiser, [])


def test_what_a_linear_becomes_depends_on_its_own_format_alone(denoiser):
    one, other = (
        compress(denoiser, plan_of(**formats), bank_of(denoiser))
        for formats in (
            {"attention": "w4", "mlp": "w8a8"},
            {"attention": "fp32", "mlp": "w8a8", "head": "w8"},
        )
    )
    path = "model.layers.1.mlp.down_proj"
    first, second = (rounded_of(each, path) for each in (one, other))
    assert {n: a.tobytes() for n, a in first.codes.items()} == {
        n: a.tobytes() for n, a in second.codes.items()
    }


def test_a_bank_rounds_each_linear_once_and_another_finds_it_on_disk(denoiser, monkeypatch):
    bank = bank_of(denoiser)
    first = compress(denoiser, plan_of(mlp="w4"), bank).network.model.layers[0].mlp.down_proj
    again = compress(denoiser, plan_of(attention="w8", mlp="w4"), bank).network
    assert again.model.layers[0].mlp.down_proj is first

    def never(*_):
        raise AssertionError("it is on disk")

    monkeypatch.setattr(calibrated, "stream", never)
    found = compress(denoiser, plan_of(attention="w8", mlp="w4"), bank_of(denoiser)).network
    assert torch.equal(found(TOKENS), again(TOKENS))


def test_other_weights_and_other_calibration_find_nothing_on_disk(denoiser, cache):
    compress(denoiser, plan_of(mlp="w4"), bank_of(denoiser))
    stranger = tiny_denoiser(seed=1)
    compress(stranger, plan_of(mlp="w4"), bank_of(stranger))
    other = WeightCalibration(denoiser, noisy_passes(denoiser, SEQUENCES, seed=1))
    compress(denoiser, plan_of(mlp="w4"), WeightBank(denoiser, other))
    assert len(list((cache / "calibrated").glob("*/*"))) == 3


def test_a_disk_that_is_full_costs_nothing_but_time(denoiser, monkeypatch):
    def full(*_args, **_more):
        raise OSError("no space left on device")

    monkeypatch.setattr("hwsearch.compression.rounding.store.np.save", full)
    with torch.no_grad():
        denoiser.network.model.layers[0].mlp.up_proj.weight[7] *= 300
    compressed = compress(denoiser, plan_of(mlp="w8a8"), bank_of(denoiser))
    rounded = rounded_of(compressed, "model.layers.0.mlp.down_proj")
    assert rounded is not None and not rounded.scale.is_inference()


def test_rounding_by_calibration_moves_predictions_less(denoiser):
    bank = bank_of(denoiser)
    tokens = torch.tensor([[*range(10, 14), *range(20, 32)]])
    exact = denoiser.network(tokens)
    errors = [
        (
            compress(denoiser, plan.model_copy(update={"rounding": rounding}), bank).network(tokens)
            - exact
        )
        .square()
        .mean()
        for plan in [plan_of(attention="w4", mlp="w4", head="w4")]
        for rounding in ("nearest", "calibrated")
    ]
    assert errors[1] < 0.7 * errors[0]


def test_smaller_layers_are_rounded_by_what_they_see(denoiser):
    """Errors of a pruned layer's outputs shrink, and heads that stay round as they would have."""
    bank = bank_of(denoiser)
    layers = [{"attention": "w4", "mlp": "w4", "kept_channels": 20}, {}]
    plan = CompressionPlan.validate({"layers": layers, "rounding": "calibrated"})
    pruned = bank.float_network(plan)
    tokens = torch.tensor([given + written for given, written in SEQUENCES])
    exact = pruned(tokens)
    errors = []
    for rounding in ("nearest", "calibrated"):
        found = compress(denoiser, plan.model_copy(update={"rounding": rounding}), bank)
        errors.append((found.network(tokens) - exact).square().mean())
    assert errors[1] < 0.7 * errors[0]
    whole = compress(denoiser, plan_of(attention="w4", mlp="w4"), bank)
    for name, same in (("self_attn.q_proj", True), ("mlp.down_proj", False)):
        path = f"model.layers.0.{name}"
        one, other = (each.network.get_submodule(path).weight for each in (found, whole))
        assert (one.shape == other.shape and torch.equal(one, other)) is same


def test_what_a_smaller_layer_becomes_is_on_disk_apart_from_the_whole_one(
    denoiser, cache, monkeypatch
):
    def made(channels):
        layers = [{"mlp": "w4", "kept_channels": channels}, {"mlp": "w4"}]
        plan = CompressionPlan.validate({"layers": layers, "rounding": "calibrated"})
        return compress(denoiser, plan, bank_of(denoiser)).network(TOKENS)

    first = {channels: made(channels) for channels in (20, 24)}

    def never(*_):
        raise AssertionError("it is on disk")

    monkeypatch.setattr(calibrated, "stream", never)
    for channels, logits in first.items():
        assert torch.equal(made(channels), logits)


def test_layers_with_zeroed_weights_are_rounded_to_nearest(denoiser):
    plan = plan_of(attention="w8a8", mlp="w4").model_dump()
    plan["layers"][0]["sparsity"] = 0.5
    compressed = compress(denoiser, CompressionPlan.validate(plan), bank_of(denoiser))
    assert rounded_of(compressed, "model.layers.0.mlp.up_proj") is None
    assert (compressed.network.model.layers[0].mlp.up_proj.weight == 0).float().mean() >= 0.5
    assert rounded_of(compressed, "model.layers.1.mlp.up_proj") is not None


def test_formats_without_whole_numbers_stay_as_they_are(denoiser):
    compressed = compress(denoiser, plan_of(attention="fp16"), bank_of(denoiser))
    assert rounded_of(compressed, "model.layers.0.self_attn.q_proj") is None
    plain = compress(denoiser, CompressionPlan.uniform(2, attention="fp16"))
    assert torch.equal(compressed.network(TOKENS), plain.network(TOKENS))
