from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.sinks import Capture, SinkRecorder, record_sinks, record_tokens
from hwsearch.sinks.formulas import (
    centroid,
    kept_by_variance,
    sink_count,
    sinks_of,
    spatial_variance,
    temporal_variance,
)
from hwsearch.testing.tiny import tiny_denoiser
from tests.sinks import by_hand

K = 3


def causal(denoiser: Denoiser) -> Denoiser:
    """The same weights, read from left to right."""
    geometry = replace(denoiser.geometry, causal=True, logit_shift=True)
    network = Transformer(geometry).eval().requires_grad_(False)
    network.load_state_dict(denoiser.network.state_dict())
    decoding = denoiser.decoding.model_copy(
        update={"block_length": 1, "steps": 8, "refresh_interval": 1}
    )
    return replace(denoiser, network=network, decoding=decoding)


def trajectory(passes=4, batch=3, length=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(64, (batch, length), generator=generator) for _ in range(passes)]


@pytest.fixture(scope="module", params=[(4, False), (4, True)], ids=["heads", "grouped"])
def denoiser(request):
    heads, grouped = request.param
    return tiny_denoiser(heads=heads, grouped=grouped)


VALID = torch.ones(3, 14, dtype=torch.bool)
VALID[1, 9:] = False
VALID[2, :4] = False


@pytest.mark.parametrize("valid", [None, VALID], ids=["whole", "padded"])
@pytest.mark.parametrize("direction", ["both", "causal"])
def test_every_statistic_equals_its_formula_written_out(denoiser, valid, direction):
    model = denoiser if direction == "both" else causal(denoiser)
    passes = trajectory()
    found = record_tokens(model, passes, valid, SinkRecorder(K, keep_passes=True))
    mask = None if valid is None else valid.numpy()
    there = np.ones((3, 14), dtype=bool) if mask is None else mask
    # [passes, layers, batch, heads, length]
    mass = np.stack(
        [by_hand.head_mass(by_hand.maps(model.network, t.numpy(), mask), mask) for t in passes]
    )
    count = len(passes)
    everywhere = np.zeros((3, 14))
    for b in range(3):
        at = np.flatnonzero(there[b])
        for layer in range(2):
            total = mass[:, layer, b].sum(axis=1)[:, at]
            soft = sum(by_hand.soft(m) for m in total) / count
            close(found.soft[b, layer, at], soft, SOFT_SLOPE * total.max())
            close(found.spatial_variance[b, layer], np.var(total.mean(axis=0)))
            tops = [by_hand.top(m, K) for m in total]
            overlap = [len(a & b) / K for a, b in itertools.pairwise(tops)]
            close(found.overlap[:, b, layer], overlap)
            centroids = [
                sum(at[i] * m[i] for i in s) / sum(m[i] for i in s)
                for m, s in zip(total, tops, strict=True)
            ]
            close(found.centroids[:, b, layer], centroids)
            close(found.temporal_variance[b, layer], np.var(centroids))
            close(
                found.concentration[:, b, layer],
                [sum(m[i] for i in s) / m.sum() for m, s in zip(total, tops, strict=True)],
            )
            close(found.by_pass[:, b, layer][:, at], total)
            for head in range(4):
                single = mass[:, layer, b, head][:, at]
                close(found.mean_mass[b, layer, head, at], single.mean(axis=0))
                tops = [by_hand.top(m, K) for m in single]
                hits = [sum(i in s for s in tops) for i in range(len(at))]
                close(found.variance[b, layer, head, at], 1 - np.array(hits) / count)
                means = [np.mean([at[i] for i in s]) for s in tops]
                close(found.sink_position_variance[b, layer, head], np.var(means))
        everywhere[b, at] = sum(
            by_hand.soft(mass[t, :, b].sum(axis=(0, 1))[at]) for t in range(count)
        )
    most = mass.sum(axis=(1, 3)).max()
    close(found.soft_global, everywhere / count, SOFT_SLOPE * most)


#: A sigmoid of slope alpha / 4 at most, of m, its mean and twice its deviation, each as wrong as m is.
SOFT_SLOPE = 5.0 / 4 * (1 + 1 + 2)


def close(found, wanted, scale=1.0):
    # the network runs in float32: what is compared is 1e-6 of the largest value that went into it
    wanted = np.asarray(wanted, dtype=float)
    assert np.abs(found - wanted).max() <= 1e-6 * max(scale, np.abs(wanted).max())


def test_padding_changes_nothing_and_weighs_nothing(denoiser):
    tokens = trajectory(passes=2)
    padded = [torch.cat((t, torch.full((3, 5), 7)), dim=1) for t in tokens]
    valid = torch.arange(19)[None].expand(3, -1) < 14
    alone = record_tokens(denoiser, tokens)
    among = record_tokens(denoiser, padded, valid)
    assert np.allclose(among.mean_mass[..., :14], alone.mean_mass, atol=1e-5)
    assert (among.mean_mass[..., 14:] == 0).all()
    assert (among.hits[..., 14:] == 0).all()
    assert np.allclose(among.temporal_variance, alone.temporal_variance, atol=1e-4)


def test_listening_changes_no_logit_and_not_the_network(denoiser):
    heard = []
    tokens = trajectory(passes=1)[0]
    capture = Capture(
        denoiser.network, lambda layer, mass: heard.append((layer, tuple(mass.shape)))
    )
    logits = capture.run(tokens)
    assert torch.allclose(logits, denoiser.logits(tokens), atol=1e-4)
    assert heard == [(0, (3, 4, 14)), (1, (3, 4, 14))]
    assert type(denoiser.network.model.layers[0].self_attn).__name__ == "Attention"


def test_chunks_add_up_to_the_whole(denoiser, monkeypatch):
    tokens = trajectory(passes=1)
    whole = record_tokens(denoiser, tokens)
    for chunk in (1, 14 * 5, 14 * 14 * 5):
        monkeypatch.setattr("hwsearch.sinks.capture.CHUNK", chunk)
        chunked = record_tokens(denoiser, tokens)
        assert np.allclose(whole.mean_mass, chunked.mean_mass, atol=1e-5)


def test_a_generation_is_recorded_pass_by_pass():
    denoiser = tiny_denoiser()
    questions = ["tom has 3 apples ?", "tom has 4 apples ?", "how many now ?"]
    found = record_sinks(denoiser, questions, k=2)
    assert sorted(len(part.present) for part in found) == [1, 2]
    for part in found:
        assert part.passes == 8
        assert part.hits.sum(axis=-1).tolist() == np.full(part.hits.shape[:-1], 2 * 8).tolist()
        assert part.by_pass is None


def test_an_autoregressive_model_is_recorded_over_what_it_has_written():
    denoiser = causal(tiny_denoiser())
    found = record_sinks(denoiser, ["tom has 3 apples ?"], k=2)[0]
    prompt = len(denoiser.prompt("tom has 3 apples ?"))
    assert found.present[0].tolist() == [8] * prompt + list(range(7, -1, -1))
    assert (found.mean_mass[0, :, :, -1] == 0).all()
    assert found.frequency.max() <= 1.0


def test_watchers_see_every_mass_as_it_comes():
    seen = []
    recorder = SinkRecorder(watch=lambda t, layer, mass: seen.append((t, layer, mass.shape)))
    record_tokens(tiny_denoiser(), trajectory(passes=2, batch=1), recorder=recorder)
    assert seen == [(t, layer, (1, 2, 14)) for t in range(2) for layer in range(2)]


def test_formulas_by_hand():
    mass = np.array([[1.0, 3.0, 0.0, 4.0]])
    sinks = sinks_of(mass, 2)
    assert sinks.tolist() == [[False, True, False, True]]
    assert centroid(mass, sinks).tolist() == [(1 * 3 + 3 * 4) / 7]
    assert spatial_variance(mass).tolist() == [2.5]
    assert temporal_variance(np.array([[1.0], [3.0]])).tolist() == [1.0]
    assert sinks_of(mass, 0.25).sum() == 1


def test_pruning_by_variance_keeps_the_stable():
    variance = np.array([[0.0, 0.5, 1.0]])
    assert kept_by_variance(variance, 0.5).tolist() == [[True, True, False]]
    with pytest.raises(InputError, match=r"threshold must be .* got 1\.5"):
        kept_by_variance(variance, 1.5)
    with pytest.raises(InputError, match=r"got -0.1"):
        kept_by_variance(variance, -0.1)
    with pytest.raises(
        InputError, match=r"leaves nothing to attend to in 1 rows.*raise the threshold"
    ):
        kept_by_variance(np.array([[0.0, 1.0], [0.6, 1.0]]), 0.5)


@pytest.mark.parametrize("k", [0, -1, 1.5, 0.0])
def test_a_k_that_counts_nothing_is_refused(k):
    with pytest.raises(InputError, match="k must be a whole number"):
        sink_count(k, 10)


def test_a_k_larger_than_the_sequence_is_refused():
    with pytest.raises(InputError, match=r"k = 15 sinks .* has 14 positions"):
        record_tokens(tiny_denoiser(), trajectory(), recorder=SinkRecorder(15))
    with pytest.raises(InputError, match="has 9 positions"):
        record_tokens(tiny_denoiser(), trajectory(), VALID, SinkRecorder(10))


def test_a_sequence_of_padding_alone_is_refused():
    valid = VALID.clone()
    valid[1] = False
    with pytest.raises(InputError, match="sequence 1 is padding from end to end"):
        record_tokens(tiny_denoiser(), trajectory(), valid)


def test_a_model_without_attention_is_refused():
    with pytest.raises(InputError, match="type Linear offers no attention"):
        Capture(torch.nn.Linear(2, 2), lambda layer, mass: None)
    with pytest.raises(InputError, match="no attention was recorded"):
        SinkRecorder().statistics()


def test_a_recorder_keeps_its_own_copy_of_what_it_is_given():
    recorder, masses = SinkRecorder(1, keep_passes=True), [[3.0, 1.0, 0.0], [0.0, 1.0, 5.0]]
    buffer = np.empty((1, 1, 3), dtype=np.float32)  # as a runtime reuses its outputs
    for mass in masses:
        for layer in range(2):
            buffer[...] = mass
            recorder.add(layer, buffer)
        buffer[...] = np.nan
        recorder.end_pass()
    found = recorder.statistics()
    assert found.by_pass is not None
    assert found.by_pass[:, 0, 0].tolist() == masses
    assert found.hits[0, 0, 0].tolist() == [1, 0, 1]
    assert found.centroids[:, 0, 0].tolist() == [0.0, 2.0]
