"""Estimated losses of single choices, held to measured ones."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from hwsearch.compression import WeightBank, compress
from hwsearch.compression.pruning import own_calibration
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import LINEAR_GROUPS, SHORT_FORMS, CompressionPlan, WeightFormat
from hwsearch.study import SearchSpace
from hwsearch.study.choices.linear_groups import DOWN_APART
from hwsearch.study.sensitivities import (
    PruningChoices,
    Sensitivities,
    SmallerLayers,
    estimates,
    measure_sensitivities,
)
from hwsearch.study.sensitivities.capture import LinearCapture
from hwsearch.study.sensitivities.effort import MOST_DRAWS
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.losses.loss import DivergenceLoss
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import character_denoiser

PROBLEMS = [
    Problem(f"tom has {i} apples and buys {j} more ?", f"{i} {j} #### {i + j}")
    for i, j in ((3, 4), (5, 6), (2, 9), (8, 1))
]
FORMATS = (WeightFormat.FP32, WeightFormat.W8A8, WeightFormat.W8)


def causal():
    model = tiny_denoiser()
    network = Transformer(replace(model.geometry, causal=True, logit_shift=True)).eval()
    network.load_state_dict(model.network.state_dict())
    decoding = model.decoding.changed({"block_length": 1, "refresh_interval": 1})
    return replace(model, network=network.requires_grad_(False), decoding=decoding)


def shifted():
    return tiny_denoiser(logit_shift=True, grouped=True, qkv_bias=True)


def choices(denoiser, formats=FORMATS[1:]):
    """Each single choice, and the plan that makes it."""
    plain = CompressionPlan.uniform(denoiser.num_layers)
    for fmt in formats:
        for layer in range(denoiser.num_layers):
            for group in ("attention", "mlp"):
                layers = list(plain.layers)
                layers[layer] = layers[layer].model_copy(update={group: fmt})
                yield (layer, group, fmt), plain.model_copy(update={"layers": tuple(layers)})
        yield (None, "head", fmt), plain.model_copy(update={"head": fmt})


@pytest.mark.parametrize("make", [tiny_denoiser, causal, shifted])
def test_estimates_are_what_single_choices_are_measured_to_cost(make):
    """Of many directions; a group's estimate is the square of one normal number in each sequence."""
    denoiser = make()
    loss = make_loss("kl", denoiser, PROBLEMS)
    assert isinstance(loss, DivergenceLoss)
    found = measure_sensitivities(denoiser.network, loss, FORMATS, draws=300)
    kept, pairs = KeptShares.keeping_all(denoiser.num_layers), []
    for choice, plan in choices(denoiser):
        measured = loss.loss(compress(denoiser, plan).network, kept)
        pairs.append((found.of(*choice), measured))
        # random layers multiply an error of the first one until two terms are not enough
        within = 1.5 if choice[0] == 0 else 1.25
        assert 1 / within < found.of(*choice) / measured < within, choice
    ratios = [estimate / measured for estimate, measured in pairs]
    assert np.median(ratios) == pytest.approx(1.0, abs=0.1)
    assert spearmanr(*zip(*pairs, strict=True)).statistic > 0.9


def test_groups_apart_are_measured_apart_and_together_as_before():
    denoiser = tiny_denoiser()
    loss = make_loss("kl", denoiser, PROBLEMS)
    apart = measure_sensitivities(denoiser.network, loss, FORMATS, groups=LINEAR_GROUPS, draws=300)
    assert all(set(layer) == set(LINEAR_GROUPS) for layer in apart.layers)
    kept, plain = KeptShares.keeping_all(2), CompressionPlan.uniform(2)
    for group in LINEAR_GROUPS:
        layers = (plain.layers[0], plain.layers[1].model_copy(update={group: WeightFormat.W8A8}))
        network = compress(denoiser, plain.model_copy(update={"layers": layers})).network
        ratio = apart.of(1, group, WeightFormat.W8A8) / loss.loss(network, kept)
        assert 1 / 1.5 < ratio < 1.5, group
    together = measure_sensitivities(denoiser.network, loss, FORMATS, draws=300)
    assert all(set(layer) == {"attention", "mlp"} for layer in together.layers)
    for layer, short in itertools.product(range(2), SHORT_FORMS):
        # of one product less the other the errors are not told apart, but nearly independent
        found = apart.of(layer, short, WeightFormat.W8A8)
        parts = [apart.of(layer, group, WeightFormat.W8A8) for group in SHORT_FORMS[short]]
        assert found == sum(parts)
        assert 0.5 < together.of(layer, short, WeightFormat.W8A8) / found < 2.0


def test_few_directions_are_dearer_by_two_passes_each():
    denoiser = tiny_denoiser()
    loss = make_loss("kl", denoiser, PROBLEMS)
    one, two = (measure_sensitivities(denoiser.network, loss, FORMATS, draws=n) for n in (1, 2))
    # once forward, twice back, once as it is and once in each of two formats
    assert one.passes == pytest.approx(loss.cost * (1 + 2 + 1 + 2))
    assert two.passes - one.passes == pytest.approx(2 * loss.cost)
    again = measure_sensitivities(denoiser.network, loss, FORMATS, draws=1)
    assert again == one != measure_sensitivities(denoiser.network, loss, FORMATS, draws=1, seed=1)
    few = measure_sensitivities(denoiser.network, loss, FORMATS)
    assert few.passes == pytest.approx(loss.cost * (1 + 2 * MOST_DRAWS + 1 + 2))


def test_what_does_not_fit_into_memory_is_left_to_a_further_sweep(monkeypatch):
    denoiser = tiny_denoiser()
    loss = make_loss("kl", denoiser, PROBLEMS)
    whole = measure_sensitivities(denoiser.network, loss, FORMATS, draws=2)
    held = []
    old = estimates._estimates

    def watched(network, unit, states, formats, rounded):
        held.append({path for calls in states for path in calls})
        return old(network, unit, states, formats, rounded)

    monkeypatch.setattr(estimates, "_estimates", watched)
    monkeypatch.setattr(estimates, "MEMORY_BYTES", 1)
    small = measure_sensitivities(denoiser.network, loss, FORMATS, draws=2)
    assert len(held) == 5 and all(len(paths) <= 4 for paths in held), "a group at a time"
    assert small.passes > whole.passes
    for choice, _ in choices(denoiser):
        # other kernels run where gradients flow, and flip a code now and then
        assert small.of(*choice) == pytest.approx(whole.of(*choice), rel=0.03)


def test_the_network_is_left_as_it_was():
    denoiser = tiny_denoiser()
    before = {name: value.clone() for name, value in denoiser.network.state_dict().items()}
    loss = make_loss("kl", denoiser, PROBLEMS)
    measure_sensitivities(denoiser.network, loss, FORMATS)
    for name, value in denoiser.network.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(module._forward_hooks for module in denoiser.network.modules())
    assert not any(weight.requires_grad for weight in denoiser.network.parameters())
    capture = LinearCapture(denoiser.network, ["lm_head"])
    with pytest.raises(RuntimeError, match="boom"):
        try:
            raise RuntimeError("boom")
        finally:
            capture.close()
    assert not denoiser.network.lm_head._forward_hooks


def test_half_precision_hides_no_format():
    """bfloat16 rounds outputs as coarsely as w8 does weights: errors are taken in float32."""
    exact, half = tiny_denoiser(), tiny_denoiser()
    half.network.to(torch.bfloat16)
    found = [
        measure_sensitivities(d.network, make_loss("kl", d, PROBLEMS), FORMATS, draws=64)
        for d in (exact, half)
    ]
    for choice, _ in choices(exact, [WeightFormat.W8]):
        assert found[1].of(*choice) == pytest.approx(found[0].of(*choice), rel=0.6)


def test_a_module_of_ones_own_is_estimated_too():
    denoiser = character_denoiser()
    problems = [Problem(p.question[:6], "") for p in PROBLEMS]
    loss = make_loss("kl", denoiser, problems)
    found = measure_sensitivities(denoiser.network, loss, FORMATS, draws=100)
    kept = KeptShares.keeping_all(denoiser.num_layers)
    for choice, plan in choices(denoiser, [WeightFormat.W8]):
        measured = loss.loss(compress(denoiser, plan).network, kept)
        assert found.of(*choice) == pytest.approx(measured, rel=0.6, abs=1e-9), choice


def test_a_prior_adds_up_layers_of_a_group_and_leaves_out_what_nobody_estimated():
    by_format = {WeightFormat.W8: 0.25, WeightFormat.W4: 1.0}
    more = {WeightFormat.W8: 0.5}
    layer = {"attention": by_format, "mlp": by_format}
    table = Sensitivities(
        layers=(layer, layer, {"attention": more, "mlp": by_format}), head=by_format, passes=7.0
    )
    assert (
        Sensitivities.model_validate(json.loads(json.dumps(table.model_dump(mode="json")))) == table
    )
    space = SearchSpace(num_layers=3, formats=("fp32", "w8", "w4"), thresholds=(1.0, 0.5))
    whole = space.model_copy(update={"thresholds": (1.0,)})
    free = table.prior(space)
    assert free["layer0.mlp"] == {0: 0.0, 1: 0.25, 2: 1.0} == free["head"]
    assert "layer0.sink_threshold" not in free
    assert "layer2.attention" not in free, "one of its choices has no estimate"
    tied = table.prior(whole.model_copy(update={"groups": "tied", "formats": ("fp32", "w8")}))
    assert tied == {
        "layers0-2.sink_threshold": {0: 0.0},
        "layers0-2.attention": {0: 0.0, 1: 1.0},
        "layers0-2.mlp": {0: 0.0, 1: 0.75},
        "head": {0: 0.0, 1: 0.25},
    }
    assert table.covers(whole) and not table.covers(space), "of thresholds nothing is known"
    other = whole.model_copy(update={"formats": ("fp32", "w8a8")})
    assert not table.covers(other)
    assert not any(name.endswith(("attention", "mlp")) for name in table.prior(other))


def test_a_prior_is_of_the_groups_of_a_space():
    def table(**nats):
        return Sensitivities(
            layers=({name: {WeightFormat.W8: loss} for name, loss in nats.items()},),
            head={WeightFormat.W8: 0.0},
            passes=1.0,
        )

    whole, parts = table(attention=0.5, mlp=1.0), table(attention=0.5, gate_up=0.25, down=1.0)
    space = SearchSpace(num_layers=1, formats=("fp32", "w8"), thresholds=(1.0,))
    split = space.model_copy(update={"linear_groups": DOWN_APART})
    assert whole.prior(space)["layer0.mlp"] == {0: 0.0, 1: 1.0}
    assert parts.prior(space)["layer0.mlp"] == {0: 0.0, 1: 1.25}
    assert parts.prior(split)["layer0.down"] == {0: 0.0, 1: 1.0}
    told = {name for name, losses in whole.prior(split).items() if len(losses) > 1}
    assert told == {"layer0.attention", "head"}, "nobody told the others apart"
    assert parts.covers(space) and parts.covers(split) and not whole.covers(split)


def test_thresholds_are_estimated_layer_by_layer_and_add_up():
    table = Sensitivities(
        layers=({}, {}),
        head={},
        thresholds=({0.9: 0.25, 0.5: 1.0}, {0.9: 0.5, 0.5: 3.0}),
        passes=1.0,
    )
    again = Sensitivities.model_validate(json.loads(json.dumps(table.model_dump(mode="json"))))
    assert again == table
    space = SearchSpace(num_layers=2, formats=("fp32",), thresholds=(1.0, 0.9, 0.5))
    assert table.prior(space)["layer1.sink_threshold"] == {0: 0.0, 1: 0.5, 2: 3.0}
    tied = space.model_copy(update={"groups": "tied"})
    assert table.prior(tied)["layers0-1.sink_threshold"] == {0: 0.0, 1: 0.75, 2: 4.0}
    other = space.model_copy(update={"thresholds": (1.0, 0.7)})
    assert "layer0.sink_threshold" not in table.prior(other)


@pytest.mark.parametrize("memory", [2**31, 1], ids=["one sweep", "a group a sweep"])
def test_dropping_is_estimated_as_it_is_measured(memory, monkeypatch):
    """Each layer alone, by running means of its own attention mass, in refreshes and cached passes."""
    denoiser = tiny_denoiser()
    loss = make_loss("kl", denoiser, PROBLEMS)
    shares = {0.9: 0.9, 0.5: 0.6}
    monkeypatch.setattr(estimates, "MEMORY_BYTES", memory)
    found = measure_sensitivities(
        denoiser.network,
        loss,
        [],
        pruning=PruningChoices(
            {threshold: KeptShares((share,) * 2) for threshold, share in shares.items()}
        ),
        draws=300 if memory > 1 else 60,
    )
    for layer, (threshold, share) in itertools.product(range(2), shares.items()):
        kept = KeptShares(tuple(share if i == layer else 1.0 for i in range(2)))
        ratio = found.of_threshold(layer, threshold) / loss.loss(denoiser.network, kept)
        assert 1 / 2 < ratio < 2, (layer, threshold, ratio)
    assert found.of_threshold(0, 1.0) == 0.0
    plain = measure_sensitivities(denoiser.network, loss, [], draws=2)
    more = measure_sensitivities(
        denoiser.network,
        loss,
        [],
        pruning=PruningChoices({0.5: KeptShares((0.6, 0.6))}),
        draws=2,
    )
    # once, or once for each layer: sweeps that watch no attention's end need no pass
    sweeps = 1 if memory > 1 else denoiser.num_layers
    assert more.passes - plain.passes == pytest.approx(sweeps * loss.cost)
    assert not any(module._forward_hooks for module in denoiser.network.modules())


@pytest.mark.parametrize("memory", [2**31, 1], ids=["one sweep", "a group a sweep"])
def test_smaller_layers_are_estimated_as_they_are_measured(memory, monkeypatch):
    """Each size of a layer alone; no pass is needed for them."""
    denoiser = tiny_denoiser()
    loss = make_loss("kl", denoiser, PROBLEMS)
    bank = WeightBank(denoiser, own_calibration(denoiser, [p.question for p in PROBLEMS]))
    sizes, draws = {"kept_heads": (1,), "kept_channels": (60, 48)}, 150 if memory > 1 else 60
    monkeypatch.setattr(estimates, "MEMORY_BYTES", memory)
    found, plain = (
        measure_sensitivities(
            denoiser.network, loss, [], pruning=PruningChoices(smaller=smaller), draws=draws
        )
        for smaller in (SmallerLayers(bank, sizes), None)
    )
    assert found.passes == plain.passes and plain.sizes == ()
    kept, whole = KeptShares.keeping_all(2), CompressionPlan.uniform(2)
    for layer, (field, counts) in itertools.product(range(2), sizes.items()):
        for count in counts:
            layers = list(whole.layers)
            layers[layer] = layers[layer].model_copy(update={field: count})
            plan = whole.model_copy(update={"layers": tuple(layers)})
            ratio = found.of_size(layer, field, count) / loss.loss(
                compress(denoiser, plan, bank).network, kept
            )
            assert 1 / 2 < ratio < 2, (layer, field, count, ratio)
    assert found.of_size(0, "kept_heads", None) == 0.0


def test_sizes_add_up_and_a_space_asks_for_all_of_them():
    table = Sensitivities(
        layers=({}, {}),
        head={},
        sizes=({"kept_channels": {48: 0.25}}, {"kept_channels": {48: 0.5}}),
        passes=1.0,
    )
    again = Sensitivities.model_validate(json.loads(json.dumps(table.model_dump(mode="json"))))
    assert again == table
    space = SearchSpace(
        num_layers=2, formats=("fp32",), thresholds=(1.0,), kept_channels=(None, 48)
    )
    assert table.prior(space)["layer1.kept_channels"] == {0: 0.0, 1: 0.5}
    tied = space.model_copy(update={"groups": "tied"})
    assert table.prior(tied)["layers0-1.kept_channels"] == {0: 0.0, 1: 0.75}
    for other in ({"kept_channels": (None, 32)}, {"kept_heads": (None, 1)}):
        wanted = space.model_copy(update=other)
        assert not table.covers(wanted)
        assert "layer0.kept_heads" not in table.prior(wanted)
