import numpy as np
import pytest

from hwsearch.decoding.kept import KeptShares, Signal, StaticScores
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.errors import PlanError
from hwsearch.plan import CachePolicy, CacheRule


def keeper(share, rule="keep-stable", refreshes=1, static=None, layer=0, **policy):
    shares = (1.0,) * layer + (share,)
    kept = KeptShares(shares, CachePolicy(rule=rule, **policy), refreshes, static)
    return PositionKeeper(kept, layer)


def refresh(of, start, stop, mass=None, shape=(1, 10)):
    signal = None if mass is None else np.atleast_2d(np.array(mass, dtype=np.float32))
    return of.refresh(shape if signal is None else signal.shape, start, stop, signal).tolist()


def test_stable_positions_win_over_heavy_ones():
    sinks = keeper(0.5)
    # position 0 is a sink in both passes; 1 is heavier in all, but a sink in one pass only
    refresh(sinks, 2, 4, [0.30, 0.60, 0.05, 0.05])
    assert refresh(sinks, 2, 4, [0.40, 0.05, 0.05, 0.50]) == [[0]]
    by_mass = keeper(0.5, "mass")
    refresh(by_mass, 2, 4, [0.30, 0.60, 0.05, 0.05])
    assert refresh(by_mass, 2, 4, [0.30, 0.15, 0.05, 0.50]) == [[1]]


def test_ties_go_to_the_heavier():
    assert refresh(keeper(0.5), 0, 0, [0.2, 0.3, 0.25, 0.25]) == [[1, 2]]


def test_the_block_itself_is_never_kept_and_rows_may_differ():
    mass = [[9, 1, 2, 3], [9, 3, 2, 1]]
    assert refresh(keeper(0.5), 0, 1, mass) == [[2, 3], [1, 2]]


def test_drop_transient_discounts_what_comes_and_goes():
    quiet = np.ones(30)
    steady, wandering = quiet.copy(), quiet.copy()
    steady[5] = 20.0
    wandering[5], wandering[20] = 60.0, 100.0
    of, by_mass = (keeper(1 / 29, rule) for rule in ("drop-transient", "mass"))
    for mass in (wandering, steady, wandering, steady):
        kept, heaviest = refresh(of, 0, 1, mass), refresh(by_mass, 0, 1, mass)
    assert kept == [[5]]
    assert heaviest == [[20]]


def test_recent_keeps_both_sides_of_the_block_the_past_first():
    assert refresh(keeper(3 / 8, "recent"), 4, 6) == [[2, 3, 6]]


def test_ar_preserve_keeps_first_tokens_sinks_and_a_window():
    mass = [0.0, 0, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 9, 9]
    assert refresh(keeper(7 / 12, "ar-preserve"), 12, 14, mass) == [[0, 1, 2, 3, 5, 8, 11]]


def test_random_draws_the_same_alone_and_in_a_batch_and_others_elsewhere():
    alone = refresh(keeper(0.5, "random"), 4, 6)
    together = refresh(keeper(0.5, "random"), 4, 6, shape=(3, 10))
    other_layer = refresh(keeper(0.5, "random", layer=1), 4, 6)
    assert together == alone * 3
    assert other_layer != alone


def test_mean_query_pools_over_neighbours_with_the_block_cut_out():
    # 3 and 6 are neighbours once the block 4..6 is cut out; raw products may be negative
    product = [-5.0, -5, -5, 2, 99, 99, -5, -5, -5, -5]
    assert refresh(keeper(3 / 8, "mean-query"), 4, 6, product) == [[2, 3, 6]]


def test_static_scores_count_from_the_end_but_for_the_first():
    static = StaticScores(first=((9.0, 1.0),), from_end=((5.0, 6.0, 7.0, 8.0),))
    assert static.of(0, 6).tolist() == [9, 1, 8, 7, 6, 5]
    assert static.of(0, 8).tolist() == [9, 1, 8, 8, 8, 7, 6, 5]
    assert static.of(0, 1).tolist() == [9]
    of = keeper(0.5, running=False, static=static)
    assert refresh(of, 4, 6, shape=(2, 6)) == [[0, 2]] * 2
    assert of.kept.layers_with(Signal.MASS) == frozenset()


def test_phases_keep_more_early_and_less_late():
    of = keeper(0.5, refreshes=4, early_scale=1.5, late_scale=0.5, boundary=0.5)
    mass = np.arange(12.0)
    assert [len(refresh(of, 0, 4, mass)[0]) for _ in range(5)] == [6, 6, 2, 2, 2]


def test_a_layer_that_keeps_all_keeps_all_in_every_phase():
    kept = KeptShares((1.0, 0.9), CachePolicy(late_scale=0.1), 2)
    assert kept.pruned == {1}
    assert (kept.at(1, 0), kept.at(1, 1)) == (0.9, pytest.approx(0.09))


@pytest.mark.parametrize(
    ("rule", "mass", "query"),
    [("keep-stable", {1}, set()), ("mean-query", set(), {1}), ("recent", set(), set())],
)
def test_a_rule_asks_a_refresh_for_what_it_looks_at(rule, mass, query):
    kept = KeptShares((1.0, 0.5), CachePolicy(rule=rule))
    assert (kept.layers_with(Signal.MASS), kept.layers_with(Signal.QUERY)) == (mass, query)


def test_static_policies_need_scores_by_a_rule_that_has_them():
    with pytest.raises(PlanError, match="needs scores calibrated"):
        KeptShares((0.5,), CachePolicy(running=False))
    with pytest.raises(PlanError, match="keep-stable, drop-transient, mass; got 'recent'"):
        KeptShares((0.5,), CachePolicy(rule="recent", running=False))


def test_every_rule_keeps_what_its_share_says():
    mass = np.random.default_rng(0).random((2, 20)).astype(np.float32)
    for rule in CacheRule:
        kept = refresh(keeper(0.4, rule), 8, 12, mass)
        assert [len(set(row)) for row in kept] == [7, 7]
        assert not {8, 9, 10, 11} & {position for row in kept for position in row}
