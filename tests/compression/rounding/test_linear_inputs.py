import pytest
import torch

from hwsearch.compression import noisy_passes
from hwsearch.compression.rounding.linear_inputs import (
    LinearInputs,
    calibration_samples,
    stream,
)
from hwsearch.denoisers.network import OwnNetwork
from hwsearch.errors import CheckpointError
from hwsearch.testing.tiny import tiny_denoiser

TOKENS = [torch.arange(10, 22)[None], torch.arange(30, 36)[None]]


def by_hooks(network, path):
    """What one linear sees, the network run whole."""
    found = []
    hook = network.get_submodule(path).register_forward_pre_hook(
        lambda _module, inputs: found.append(inputs[0].clone())
    )
    with torch.inference_mode():
        for tokens in TOKENS:
            network(tokens)
    hook.remove()
    return found


def test_a_stream_shows_every_linear_what_it_sees_in_a_whole_pass():
    network = tiny_denoiser(heads=4, grouped=True, qkv_bias=True).network
    every = set(network.linear_groups().paths())
    streamed = list(stream(network, TOKENS, every))
    assert [path for paths, _ in streamed for path in paths] == network.linear_groups().paths()
    for paths, seen in streamed:
        for path in paths:
            for found, wanted in zip(seen.inputs, by_hooks(network, path), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
            assert [w.shape for w in seen.weights] == [t.shape for t in TOKENS]
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_what_is_added_to_a_residual_counts_against_its_size():
    network = tiny_denoiser().network
    with torch.no_grad():
        network.model.embed_tokens.weight[10] *= 1e3  # a massive first token
    streamed = {
        paths[0]: seen
        for paths, seen in stream(network, TOKENS, {*network.linear_groups().paths()})
    }
    for name, weighed in (
        ("self_attn.o_proj", True),
        ("mlp.down_proj", True),
        ("mlp.gate_proj", False),
    ):
        weights = streamed[f"model.layers.0.{name}"].weights[0][0]
        assert (weights[0] < 1e-2 * weights[1:].min()) == weighed


def test_only_groups_that_are_wanted_come_and_nothing_behind_them_is_run():
    network, ran = tiny_denoiser().network, []
    network.model.layers[1].register_forward_pre_hook(lambda *_: ran.append(1))
    streamed = list(stream(network, TOKENS, {"model.layers.0.self_attn.k_proj"}))
    names = tuple(f"model.layers.0.self_attn.{name}_proj" for name in "qkv")
    assert [paths for paths, _ in streamed] == [names]
    assert not ran
    ((paths, _),) = stream(network, TOKENS, {"lm_head"})
    assert paths == ("lm_head",) and ran


def test_the_same_values_reach_the_output_through_several_query_heads():
    network = tiny_denoiser(heads=4, kv_heads=2, hidden=64).network
    path = "model.layers.0.self_attn.o_proj"
    ((_, seen),) = stream(network, TOKENS, {path})
    head = list(range(16))
    later = [16 + feature for feature in head]
    assert seen.sources.tolist() == [*head, *head, *later, *later]


def test_a_module_of_ones_own_shows_each_linear_by_itself():
    module = torch.nn.Sequential(
        torch.nn.Embedding(64, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 64)
    )
    network = OwnNetwork(module, [{"mlp": ["1"]}], head="2")
    found = dict(stream(network, TOKENS, {"module.1", "module.2"}))
    assert set(found) == {("module.1",), ("module.2",)}
    for (path,), seen in found.items():
        assert seen.sources is None  # nobody knows what makes its inputs
        assert all(map(torch.equal, seen.inputs, by_hooks(network, path)))


def test_inputs_that_are_no_numbers_are_told_by_the_linear():
    network = tiny_denoiser().network
    with torch.no_grad():
        network.model.layers[1].input_layernorm.weight[3] = float("inf")
    with pytest.raises(
        CheckpointError, match=r"^model\.layers\.1\.self_attn\.q_proj: its inputs are NaN"
    ):
        list(stream(network, TOKENS, {"model.layers.1.self_attn.q_proj"}))


def test_every_sequence_is_seen_at_one_level_after_the_other_up_to_so_many_rows():
    sequences = [([10, 11], [20 + i] * 8) for i in range(6)]
    passes = noisy_passes(tiny_denoiser(), sequences, times=(0.0, 0.5, 1.0))
    every = calibration_samples(passes, 10_000)
    assert len(every) == 18
    assert sorted(map(repr, every)) == sorted(
        repr(t[i : i + 1]) for t in passes[0] for i in range(6)
    )
    some = calibration_samples(passes, 60)
    assert len(some) == 6
    assert {t[0, 2:].unique().numel() for t in some} > {1}  # some of them are masked in part
    assert len(calibration_samples(passes, 1)) == 1
    assert calibration_samples([], 10) == []


def test_every_fourth_sample_judges_what_the_others_were_fitted_to():
    inputs = [torch.full((1, 2, 3), float(i)) for i in range(8)]
    weights = [torch.ones(1, 2)] * 8
    fit, judge = LinearInputs(inputs, weights).split
    assert [int(x[0, 0, 0]) for x in judge.inputs] == [3, 7]
    assert [int(x[0, 0, 0]) for x in fit.inputs] == [0, 1, 2, 4, 5, 6]
    for count, shares in ((1, (1, 1)), (2, (1, 1)), (3, (1, 2))):
        split = LinearInputs(inputs[:count], weights[:count]).split
        assert tuple(len(part.inputs) for part in split) == shares
