import numpy as np
import pytest

from hwsearch.decoding.cache import SinkHistory, kept_count, outside, soft_scores, top_positions


def test_top_positions_by_hand():
    mass = np.array([[0.1, 0.4, 0.3, 0.2]])
    assert top_positions(mass, 0.5).tolist() == [[False, True, True, False]]
    assert top_positions(mass, 0.01).sum() == 1


@pytest.mark.parametrize(("share", "count"), [(1.0, 10), (0.5, 5), (0.41, 5), (0.0, 1), (0.001, 1)])
def test_kept_count_rounds_up_and_keeps_one(share, count):
    assert kept_count(share, 10) == count


def test_history_counts_passes():
    history = SinkHistory.blank(1, 4)
    for _ in range(3):
        history = history.seen(np.array([[4, 3, 2, 1]], dtype=np.float32))
    assert history.hits.tolist() == [[3, 3, 0, 0]]
    assert history.mass.tolist() == [[12, 9, 6, 3]]


def test_outside_leaves_out_the_block():
    assert outside(2, 6, 2, 4).tolist() == [[0, 1, 4, 5]] * 2


def test_soft_scores_by_hand():
    # mean 2, population deviation 4: the edge is at 2 + 2 * 4 = 10, which the last position equals
    mass = np.array([0.0, 0.0, 0.0, 0.0, 10.0])
    assert mass.mean() == 2 and mass.std() == 4
    scores = soft_scores(mass, alpha=0.1)
    assert scores[4] == pytest.approx(0.5)
    assert scores[0] == pytest.approx(1 / (1 + np.exp(1.0)))


def test_transience_is_that_of_a_coin_where_sinkness_comes_and_goes():
    history = SinkHistory.blank(1, 30)
    steady = np.zeros((1, 30), dtype=np.float32)
    steady[0, 0] = 40.0
    wandering = np.roll(steady, 7, axis=1)
    for mass in (steady + wandering, steady, steady + wandering, steady):
        history = history.seen(mass)
    assert history.passes == 4
    assert history.transience[0, 7] == pytest.approx(1.0, abs=1e-6)
    assert history.transience[0, [0, 1, 29]] == pytest.approx(0.0, abs=1e-6)
