"""What can be fitted on, what cannot, and what is said of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hwsearch.errors import InputError, PlanError
from hwsearch.forecast.fitting import fit
from hwsearch.forecast.judging import BinFigures, judge
from hwsearch.forecast.methods.method import bin_of, centred
from hwsearch.forecast.methods.reuse import ReusedLogits
from hwsearch.forecast.settings import METHODS, Golden, LowRank, Reuse, Ridge
from tests.forecast.worlds import BLOCK, VOCAB, World, play


def softmax(logits):
    exp = np.exp(logits - logits.max())
    return exp / exp.sum()


def test_figures_are_counted_mask_by_mask():
    world = World()
    blocks, settings = world.blocks(9), Reuse(threshold=0.6)
    found = judge(ReusedLogits(), settings, blocks)
    counted = [dict.fromkeys(BinFigures.__dataclass_fields__, 0) for _ in range(4)]
    for block in blocks:
        for index in range(len(block.masked) - 1):
            masks = np.flatnonzero(block.masked[index + 1])
            own = counted[-(-len(masks) * 4 // BLOCK) - 1]
            for position in masks:
                now, after = block.logits[index : index + 2, position].astype(float)
                change = centred(after) - centred(now)
                agrees, sure = now.argmax() == after.argmax(), softmax(now).max() > 0.6
                own["masks"] += 1
                own["change"] += (change**2).sum()
                own["error"] += (change**2).sum()
                own["agreeing"] += agrees
                own["reuse_agreeing"] += agrees
                own["written"] += sure
                own["right"] += sure and agrees
    for one, expected in zip(found, counted, strict=True):
        for name, value in expected.items():
            assert getattr(one, name) == pytest.approx(value, rel=1e-4), name


def test_figures_of_nothing_are_none_and_pass_no_gate():
    nothing = BinFigures()
    assert nothing.r2 is nothing.agreement is nothing.written_agreement is None
    assert nothing.reuse_agreement is nothing.written_share is None
    assert not nothing.passes(Reuse(least_agreement=0.0, least_r2=-100.0))


@pytest.mark.parametrize(
    "changes, passes",
    [({}, True), ({"least_r2": 0.76}, False), ({"least_agreement": 0.91}, False)],
)
def test_a_gate_asks_for_what_was_foreseen_and_for_what_would_be_written(changes, passes):
    figures = BinFigures(masks=40, change=4.0, error=1.0, written=10, right=9)
    assert (figures.r2, figures.written_agreement, figures.written_share) == (0.75, 0.9, 0.25)
    settings = Ridge(**({"least_r2": 0.75, "least_agreement": 0.9} | changes))
    assert figures.passes(settings) is passes


def test_bins_are_equal_shares_of_the_block():
    masked = np.tri(16, dtype=bool)
    assert bin_of(masked, 4).tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert bin_of(np.zeros((1, 16), dtype=bool), 4).tolist() == [0]
    assert bin_of(masked, 64).max() == 63


@pytest.mark.parametrize("name", METHODS)
def test_where_each_block_takes_one_pass_nothing_is_forecast(name):
    world = World(passes=2)
    blocks = [
        replace(block, masked=np.stack([block.masked[0], np.zeros(BLOCK, dtype=bool)]))
        for block in world.blocks(5)
    ]
    for some in ([], blocks, world.blocks(1)):  # one block cannot be fitted on and judged on
        found = fit(METHODS[name](), some, world.embeddings)
        assert found.trusted == (False,) * 4
        block = world.block()
        logits, trusted = play(found, block, 0)
        assert not trusted
        assert (logits == block.logits[0]).all()


@pytest.mark.parametrize("method", [LowRank, Golden])
def test_a_rank_above_the_features_is_refused(method):
    world = World()
    with pytest.raises(PlanError, match=r"rank 24 .* take rank 23 or less"):
        fit(method(rank=24), world.blocks(9), world.embeddings)


@pytest.mark.parametrize("choose", ["k-centre", "k-means", "leverage"])
def test_a_coreset_larger_than_the_data_is_refused(choose):
    world = World()
    with pytest.raises(PlanError, match="coreset of 10000 states"):
        fit(Golden(rank=3, coreset=10000, choose=choose), world.blocks(9), world.embeddings)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["logits", "hidden"])
def test_numbers_that_are_not_finite_are_refused(value, name):
    world = World()
    blocks = world.blocks(4)
    getattr(blocks[2], name)[0, 0, 0] = value
    with pytest.raises(InputError, match=r"block 2: .* not finite"):
        fit(LowRank(rank=2), blocks, world.embeddings)


def test_who_does_not_look_at_hidden_states_needs_none():
    world = World()
    blocks = [replace(block, hidden=None) for block in world.blocks(9)]
    assert fit(Ridge(), blocks).figures[0].masks
    with pytest.raises(InputError, match="looks at final hidden states"):
        fit(LowRank(rank=2), blocks, world.embeddings)


def test_passes_that_do_not_belong_together_are_refused():
    world = World()
    first, second = world.blocks(2)
    short = replace(second, logits=second.logits[:, :, :-1])
    with pytest.raises(InputError, match="blocks of one size"):
        fit(Reuse(), [first, short])
    with pytest.raises(InputError, match="block 1: masked"):
        fit(Reuse(), [first, replace(second, masked=second.masked[:, :-1])])
    with pytest.raises(InputError, match="block 1: hidden states"):
        fit(LowRank(), [first, replace(second, hidden=second.hidden[:1])], world.embeddings)
    with pytest.raises(InputError, match=r"\[passes, block, vocab\]"):
        fit(Reuse(), [replace(first, logits=first.logits[0])])


def test_embeddings_are_checked():
    world = World()
    blocks = world.blocks(6)
    with pytest.raises(InputError, match="needs their embeddings"):
        fit(LowRank(rank=2), blocks)
    with pytest.raises(InputError, match="embeddings or logits of 3"):
        fit(LowRank(rank=2), blocks, world.embeddings[:3])
    with pytest.raises(InputError, match="all finite"):
        fit(LowRank(rank=2), blocks, world.embeddings * np.nan)
    with pytest.raises(InputError, match="all finite"):
        fit(LowRank(rank=2), blocks, world.embeddings[0])


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_some_are_held_out_and_some_are_not(share):
    with pytest.raises(InputError, match="held_out_share"):
        fit(Reuse(), [], held_out_share=share)


def test_tokens_under_masks_count_for_nothing():
    world = World()
    blocks = world.blocks(12)
    changed = [
        replace(block, tokens=np.where(block.masked, VOCAB + 1000, block.tokens))
        for block in blocks
    ]
    settings = LowRank(rank=4)
    one, other = (fit(settings, some, world.embeddings) for some in (blocks, changed))
    assert one.figures == other.figures


def test_a_seed_gives_the_same_fit_again():
    world = World()
    blocks, settings = world.blocks(30), Golden(rank=3, coreset=20)
    one, same, other = (fit(settings, blocks, world.embeddings, seed=seed) for seed in (1, 1, 2))
    assert one.figures == same.figures
    assert one.figures != other.figures


def test_rows_are_what_json_can_say():
    world = World()
    found = fit(Reuse(bins=2), world.blocks(12))
    row, empty = json.loads(json.dumps(found.rows()))
    assert row["masks"] == found.figures[0].masks > 0
    assert (row["masked_above"], row["masked_up_to"], row["trusted"]) == (0.0, 0.5, False)
    assert (row["r2"], row["agreement"]) == (0.0, row["reuse_agreement"])
    assert (empty["masks"], empty["r2"], empty["agreement"]) == (0, None, None)
