"""Each method against a slow plain implementation, and in a world where the answer is known."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hwsearch.forecast.fitting import fit
from hwsearch.forecast.methods.coreset import coreset_of
from hwsearch.forecast.settings import Golden, History, LowRank, Reuse, Ridge
from tests.forecast.worlds import BLOCK, VOCAB, Copying, Fading, Noise, Switching, World, play

#: Gates that are never shut, for whoever looks at the forecasts behind them.
OPEN = {"least_agreement": 0.0, "least_r2": -1e9, "threshold": 1e-6}


def fitted(settings, world, count=60):
    return fit(settings, world.blocks(count), world.embeddings)


def r2(found):
    """Over all bins."""
    error = sum(one.error for one in found.figures)
    return 1 - error / sum(one.change for one in found.figures)


def test_reuse_foresees_the_last_pass():
    world = World()
    found, block = fitted(Reuse(**OPEN), world), world.block()
    logits, trusted = play(found, block, 1)
    assert trusted
    assert (logits == block.logits[1]).all()
    assert r2(found) == pytest.approx(0.0)


def test_history_is_credit_as_the_torch_backend_gives_it():
    import torch

    from hwsearch.commit.policy import Credit
    from hwsearch.denoisers.torch_backend import credited

    world = World(passes=4)
    settings = History(**OPEN)
    found, block = fitted(settings, world), world.block()
    rule = Credit(decay=settings.decay, exponent=settings.exponent, weight=settings.weight)
    credit = None
    for index in range(3):
        expected, credit = credited(torch.from_numpy(block.logits[index][None]), credit, rule)
        if block.masked[index + 1].any():
            logits, _ = play(found, block, index)
            where = block.masked[index + 1]
            np.testing.assert_allclose(logits[where], expected[0].numpy()[where], rtol=1e-5)
            assert (logits[~where] == block.logits[index][~where]).all()


def plain_ridge(settings, blocks, bin_, seen):
    """Weights of the newest logits and of the change before, by lstsq on rows with a penalty."""
    rows, targets = [], []
    for block in blocks:
        for index in range(len(block.masked) - 1):
            if min(index + 1, settings.passes) != seen:
                continue
            share = block.masked[index + 1].mean()
            if not bin_ / settings.bins < share <= (bin_ + 1) / settings.bins:
                continue
            for position in np.flatnonzero(block.masked[index + 1]):
                past = [block.logits[index - age, position].astype(float) for age in range(seen)]
                past = [one - one.mean() for one in past]
                target = block.logits[index + 1, position].astype(float)
                rows.append([past[0], *(a - b for a, b in pairwise(past))])
                targets.append(target - target.mean() - past[0])
    inputs = np.concatenate([np.array(row).T for row in rows])
    size = np.sqrt(settings.penalty * (inputs**2).sum() / seen)
    inputs = np.vstack([inputs, size * np.eye(seen)])
    return np.linalg.lstsq(inputs, np.append(np.concatenate(targets), np.zeros(seen)))[0]


@pytest.mark.parametrize("bin_, seen", [(1, 1), (0, 2)])
def test_ridge_is_a_regression_on_the_last_passes(bin_, seen):
    world = World()
    blocks = world.blocks(20)
    settings = Ridge(passes=2, bins=4, penalty=0.1)
    from hwsearch.forecast.methods.ridge import CombinedLogits

    weights = CombinedLogits.fit(settings, blocks).arrays()["weights"][bin_, seen - 1]
    expected = plain_ridge(settings, blocks, bin_, seen)
    newest, *changes = expected
    of_logits = [newest + sum(changes), *(-one for one in changes)]
    np.testing.assert_allclose(weights[:seen], of_logits, rtol=1e-4)


def test_ridge_knows_a_change_that_goes_on_fading():
    world = Fading(passes=4)
    found = fitted(Ridge(penalty=0.0, **OPEN), world)
    # first passes are followed by anything, and leave more masks than this bin has
    assert found.figures[0].r2 > 0.999
    assert found.figures[1].r2 < 0.1
    block = world.block()
    where = block.masked[3]
    np.testing.assert_allclose(play(found, block, 2)[0][where], block.logits[3][where], rtol=1e-3)


def test_ridge_of_one_pass_is_blind_to_how_logits_move():
    assert fitted(Ridge(passes=1, **OPEN), Fading(passes=4)).figures[0].r2 < 0.5


@pytest.mark.parametrize("method", [LowRank, Golden])
def test_a_world_that_adds_up_is_known_exactly(method):
    world = World()
    more = {"copy_penalty": None} | ({"coreset": 40} if method is Golden else {})
    found = fitted(method(rank=12, penalty=0.0, **more, **OPEN), world)
    assert r2(found) > 0.999
    block = world.block()
    where = block.masked[1]
    shown, expected = play(found, block, 0)[0][where], block.logits[1][where]
    # a constant on all logits of a mask is nothing to a softmax
    difference = shown - expected
    np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=0.05)


def plain_features(block, index, position, embeddings):
    """A mask's features as the docs say them, in loops."""
    seen, after = block.masked[index], block.masked[index + 1]
    written = np.flatnonzero(seen & ~after)
    tokens, width = block.tokens[index + 1], embeddings.shape[1]
    left = [place for place in written if place < position][-1:]
    right = [place for place in written if place > position][:1]
    found = [1.0, *block.hidden[index, position]]
    for places in (left, right):
        found += [len(places), *sum((embeddings[tokens[p]] for p in places), np.zeros(width))]
    weights = {place: 0.7 ** (abs(place - position) - 1) for place in written}
    near = sum((w * embeddings[tokens[p]] for p, w in weights.items()), np.zeros(width))
    return [*found, sum(weights.values()), *near]


def plain_map(settings, blocks, embeddings):
    """Reduced-rank ridge regression by the whole map and a singular value decomposition."""
    rows, targets = [], []
    for block in blocks:
        for index in range(len(block.masked) - 1):
            for position in np.flatnonzero(block.masked[index + 1]):
                rows.append(plain_features(block, index, position, embeddings))
                change = block.logits[index + 1, position] - block.logits[index, position]
                targets.append(change - change.mean())
    inputs, targets = np.array(rows, dtype=float), np.array(targets, dtype=float)
    sizes = [1, block.hidden.shape[2], *[1 + embeddings.shape[1]] * 3]
    means = [(one**2).sum() / one.shape[1] for one in np.split(inputs, np.cumsum(sizes)[:-1], 1)]
    penalty = np.sqrt(settings.penalty * np.repeat(means, sizes))
    padded = np.vstack([inputs, np.diag(penalty)])
    whole = np.linalg.lstsq(padded, np.vstack([targets, np.zeros((len(penalty), VOCAB))]))[0]
    directions = np.linalg.svd(padded @ whole)[2][: settings.rank]
    return inputs, targets, whole @ directions.T @ directions, directions


def test_low_rank_is_reduced_rank_ridge_regression():
    from hwsearch.forecast.methods.low_rank import ChangedLogits
    from hwsearch.forecast.situation import Memory, transitions

    world = Noise(passes=3)
    blocks, settings = world.blocks(12), LowRank(rank=3, penalty=0.3, copy_penalty=None)
    map_ = ChangedLogits.fit(settings, blocks, world.embeddings)
    _, _, whole, _ = plain_map(settings, blocks, world.embeddings)
    for situation, _ in transitions(blocks[:1], Memory(hidden=True)):
        index = 0 if situation.seen.all() else 1
        where = np.flatnonzero(situation.masked[0])
        rows = [plain_features(blocks[0], index, p, world.embeddings) for p in where]
        np.testing.assert_allclose(
            map_.changes(situation), np.array(rows) @ whole, rtol=1e-3, atol=1e-4
        )


def plain_copies(penalty, blocks):
    """Weights of each distance: lstsq on rows with a penalty, pair by pair."""
    rows, every = {}, []
    for block in blocks:
        for index in range(len(block.masked) - 1):
            for position in np.flatnonzero(block.masked[index + 1]):
                state = block.hidden[index, position].astype(float)
                change = (block.logits[index + 1] - block.logits[index])[position].astype(float)
                every.append(state)
                for place in np.flatnonzero(~block.masked[index + 1]):
                    token = block.tokens[index + 1, place]
                    row = (np.append(1.0, state), change[token] - change.mean())
                    rows.setdefault(place - position, []).append(row)
    size, found = np.square(every).mean(), {}
    for distance, own in rows.items():
        inputs, targets = (np.array(one) for one in zip(*own, strict=True))
        pad = np.diag(np.sqrt(penalty * np.append(1.0, np.full(len(state), size))))
        padded = np.append(targets, np.zeros(len(pad)))
        found[distance] = np.linalg.lstsq(np.vstack([inputs, pad]), padded)[0]
    return found


def test_copying_is_a_regression_for_each_distance():
    from hwsearch.forecast.methods.copying import CopiedTokens
    from hwsearch.forecast.situation import transitions

    blocks = Copying().blocks(25)
    found = CopiedTokens.fit(3.0, blocks)
    expected = plain_copies(3.0, blocks)
    few = [distance for distance in expected if abs(distance) == BLOCK - 1]
    assert few  # distances with fewer pairs than numbers are solved another way
    for distance in range(1 - BLOCK, BLOCK):
        place = distance + BLOCK - 1
        weights = np.append(found.bias[place], found.state[place])
        np.testing.assert_allclose(
            weights, expected.get(distance, np.zeros(7)), rtol=1e-4, atol=1e-5
        )
    for situation, _ in transitions(blocks[:1], CopiedTokens.memory):
        change = np.zeros((int(situation.masked.sum()), VOCAB), dtype=np.float32)
        found.add_to(change, situation)
        for row, position in zip(change, np.flatnonzero(situation.masked[0]), strict=True):
            plain = np.zeros(VOCAB)
            for place in np.flatnonzero(~situation.masked[0]):
                weights = expected[place - position]
                state = np.append(1.0, situation.hidden[0, position])
                plain[situation.tokens[0, place]] += weights @ state
            np.testing.assert_allclose(row, plain, rtol=1e-3, atol=1e-4)


def test_a_shorter_block_copies_from_the_same_distances():
    from hwsearch.forecast.methods.copying import CopiedTokens
    from hwsearch.forecast.situation import transitions

    blocks = Copying().blocks(25)
    found = CopiedTokens.fit(3.0, blocks)
    names = ("tokens", "masked", "logits", "hidden")
    short = replace(blocks[0], **{name: getattr(blocks[0], name)[:, :-2] for name in names})
    whole = replace(blocks[0], tokens=blocks[0].tokens.copy(), masked=blocks[0].masked.copy())
    changes = []
    for block in (short, whole):
        situation, _ = next(transitions([block], found.memory))
        change = np.zeros((int(situation.masked.sum()), VOCAB), dtype=np.float32)
        found.add_to(change, situation)
        changes.append(change)
    within = np.flatnonzero(whole.masked[1]) < BLOCK - 2
    behind = [place for place in (BLOCK - 2, BLOCK - 1) if not whole.masked[1, place]]
    others = np.ones(VOCAB, dtype=bool)
    others[whole.tokens[1, behind]] = False
    np.testing.assert_allclose(changes[0][:, others], changes[1][within][:, others], atol=1e-5)


@pytest.mark.parametrize("method", [LowRank, Golden])
def test_what_masks_repeat_is_copied(method):
    more = {"rank": 4} | ({"coreset": 40} if method is Golden else {})
    blind = fitted(method(copy_penalty=None, **more, **OPEN), Copying(), 150)
    found = fitted(method(copy_penalty=1.0, **more, **OPEN), Copying(), 150)
    assert r2(found) > 0.8 > 0.4 > r2(blind)


def test_low_rank_takes_fewer_masks_than_features_and_more_tokens_than_features():
    world = World(embedding_width=2)
    found = fitted(LowRank(rank=4, **OPEN), world, 3)
    assert np.isfinite(play(found, world.block(), 0)[0]).all()


def test_golden_is_the_map_and_what_it_missed_nearby():
    world = Switching()
    blocks = world.blocks(40)
    settings = Golden(
        rank=3, penalty=0.1, coreset=30, neighbours=5, choose="k-centre", copy_penalty=None, **OPEN
    )
    found = fit(settings, blocks, world.embeddings)
    arrays = found.method.arrays()
    block = world.block()
    where = block.masked[1]
    logits = play(found, block, 0)[0][where]
    for row, position in zip(logits, np.flatnonzero(where), strict=True):
        written = np.flatnonzero(~block.masked[1])
        numbers = arrays["bias"] + block.hidden[0, position] @ arrays["state"]
        for relation, places in enumerate(
            (written[written < position][-1:], written[written > position][:1], written)
        ):
            for place in places:
                weight = 0.7 ** (abs(place - position) - 1) if relation == 2 else 1.0
                numbers = numbers + weight * arrays["written"][relation, block.tokens[1, place]]
        squared = ((arrays["states"] - numbers) ** 2).sum(axis=1)
        nearest = np.argsort(squared)[:5]
        weights = np.exp(-3 * squared[nearest] / squared[nearest].max())
        missed = (weights[:, None] * arrays["missed"][nearest]).sum(axis=0) / weights.sum()
        expected = block.logits[0, position] + (numbers + missed) @ arrays["up"]
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("choose", ["k-centre", "k-means", "leverage"])
def test_golden_sees_what_no_sum_tells(choose):
    linear = r2(fitted(LowRank(rank=3, **OPEN), Switching(), 200))
    golden = Golden(rank=3, coreset=200, neighbours=5, choose=choose, **OPEN)
    assert r2(fitted(golden, Switching(), 200)) > linear + 0.2


@pytest.mark.parametrize("method", [Ridge, LowRank, Golden])
def test_gates_are_shut_on_noise(method):
    more = {"coreset": 40, "rank": 4} if method is Golden else {}
    found = fitted(method(**more, **({"rank": 8} if method is LowRank else {})), Noise())
    assert not any(found.trusted)
    block = Noise(seed=9).block()
    logits, trusted = play(found, block, 0)
    assert not trusted
    assert (logits == block.logits[0]).all()


@pytest.mark.parametrize("choose", ["k-centre", "k-means", "leverage"])
def test_a_coreset_is_drawn_without_comparing_all_with_all(choose):
    import tracemalloc

    def peak(count, kept):
        rng = np.random.default_rng(0)
        states = rng.normal(size=(count, 4)).astype(np.float32)
        settings = Golden(coreset=kept, choose=choose)
        tracemalloc.start()
        found = coreset_of(settings, states, states, seed=0)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found.states) <= kept
        assert found.shares.sum() >= kept if choose == "k-means" else found.shares.sum() == kept
        return size

    small, large = peak(4000, 50), peak(16000, 200)
    assert large < 5 * small  # four times of each; all pairs would take sixteen times as much
    assert large < 16000 * 200 * 4


def test_memory_of_golden_grows_with_its_coreset_alone():
    world = Switching()
    blocks = world.blocks(120)

    def size(kept):
        settings = Golden(rank=3, coreset=kept, choose="leverage")
        arrays = fit(settings, blocks, world.embeddings).method.arrays()
        own = sum(arrays[name].nbytes for name in ("states", "missed", "shares"))
        assert all(len(arrays[name]) == kept for name in ("states", "missed", "shares"))
        return own

    assert size(80) == 2 * size(40)


def test_k_centre_takes_equal_states_only_once_each():
    states = np.zeros((6, 2), dtype=np.float32)
    found = coreset_of(Golden(coreset=6, choose="k-centre"), states, np.eye(6, 2), seed=0)
    assert len(found.states) == 6


SMALL = [Ridge(**OPEN), LowRank(rank=4, **OPEN), Golden(rank=4, coreset=20, **OPEN)]


@pytest.mark.parametrize("settings", SMALL, ids=lambda one: one.method)
def test_held_out_blocks_never_touch_the_fit(settings):
    world = World()
    blocks = world.blocks(16)
    before = fit(settings, blocks, world.embeddings)
    held_out = 0
    for place, block in enumerate(blocks):
        moved = replace(block, logits=block.logits + world.rng.normal(size=block.logits.shape))
        others = [*blocks[:place], moved, *blocks[place + 1 :]]
        after = fit(settings, others, world.embeddings)
        same = all(
            np.array_equal(one, after.method.arrays()[name])
            for name, one in before.method.arrays().items()
        )
        held_out += same
        assert before.figures != after.figures
    assert held_out == 4  # a quarter


@pytest.mark.parametrize("settings", SMALL, ids=lambda one: one.method)
def test_of_shuffled_targets_nothing_is_foreseen(settings):
    world = World(passes=2)
    blocks = world.blocks(200)
    order = world.rng.permutation(len(blocks))
    after = [
        np.stack([block.logits[0], block.logits[0] + other.logits[1] - other.logits[0]])
        for block, other in zip(blocks, (blocks[place] for place in order), strict=True)
    ]
    shuffled = [replace(b, logits=one) for b, one in zip(blocks, after, strict=True)]
    assert r2(fit(settings, blocks, world.embeddings)) > (
        0.0 if settings.method == "ridge" else 0.3
    )
    assert r2(fit(settings, shuffled, world.embeddings)) < 0.2


def test_more_than_one_sample_is_foreseen_as_each_by_itself():
    world = World()
    found = fitted(LowRank(rank=6, **OPEN), world)
    blocks = world.blocks(3)
    forecaster = found.forecaster()
    forecaster.see(
        *(np.stack([getattr(b, n)[0] for b in blocks]) for n in ("logits", "hidden", "masked"))
    )
    together = forecaster.foresee(
        np.stack([b.tokens[1] for b in blocks]), np.stack([b.masked[1] for b in blocks])
    )
    for row, block in zip(together.logits, blocks, strict=True):
        np.testing.assert_allclose(row, play(found, block, 0)[0], rtol=1e-4, atol=1e-5)


def test_a_forecast_in_a_row_sees_what_the_one_before_wrote():
    world = World()
    found, block = fitted(LowRank(rank=6, **OPEN), world), world.block()
    forecaster = found.forecaster()
    forecaster.see(block.logits[:1], block.hidden[:1], block.masked[:1])
    first = forecaster.foresee(block.tokens[1:2], block.masked[1:2]).logits
    tokens, masked = block.tokens[1:2].copy(), block.masked[1:2].copy()
    place = np.flatnonzero(masked[0])[0]
    tokens[0, place], masked[0, place] = 3, False
    second = forecaster.foresee(tokens, masked).logits
    after = np.flatnonzero(masked[0])
    assert not np.allclose(first[0, after], second[0, after])


def test_a_forecaster_forgets_between_blocks_and_keeps_its_inputs_as_they_are():
    world = World()
    found, block = fitted(Ridge(**OPEN), world), world.block()
    forecaster = found.forecaster()
    with pytest.raises(ValueError, match="needs a pass"):
        forecaster.foresee(block.tokens[1:2], block.masked[1:2])
    logits = block.logits[:1].copy()
    forecaster.see(logits, None, block.masked[:1])
    forecaster.foresee(block.tokens[1:2], block.masked[1:2])
    assert (logits == block.logits[:1]).all()
    forecaster.begin()
    with pytest.raises(ValueError, match="needs a pass"):
        forecaster.foresee(block.tokens[1:2], block.masked[1:2])


def test_a_shut_bin_says_what_the_last_pass_said():
    world = World()
    found = fitted(LowRank(rank=6, bins=2, **OPEN), world)
    shut = replace(found, figures=(found.figures[0], type(found.figures[1])()))
    assert shut.trusted == (True, False)
    block = world.block()
    many, few = block.masked[1:2].copy(), block.masked[2:3]
    many[:] = True
    many[0, 0] = False
    forecaster = shut.forecaster()
    forecaster.see(block.logits[:1], block.hidden[:1], block.masked[:1])
    assert not forecaster.foresee(block.tokens[1:2], many).trusted[0]
    assert forecaster.foresee(block.tokens[2:3], few).trusted[0]
