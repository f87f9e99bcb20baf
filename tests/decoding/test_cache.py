import numpy as np
import pytest

from hwsearch.decoding.cache import SinkHistory, StableSinks, kept_count, outside, top_positions


def test_top_positions_by_hand():
    mass = np.array([[0.1, 0.4, 0.3, 0.2]])
    assert top_positions(mass, 0.5).tolist() == [[False, True, True, False]]
    assert top_positions(mass, 0.01).sum() == 1


@pytest.mark.parametrize(("share", "count"), [(1.0, 10), (0.5, 5), (0.41, 5), (0.0, 1), (0.001, 1)])
def test_kept_count_rounds_up_and_keeps_one(share, count):
    assert kept_count(share, 10) == count


def test_stable_positions_win_over_heavy_ones():
    sinks = StableSinks(0.5)
    # position 0 is a sink in both passes; 1 is heavier in all, but a sink in one pass only
    sinks.update(np.array([[0.30, 0.60, 0.05, 0.05]], dtype=np.float32))
    sinks.update(np.array([[0.40, 0.05, 0.05, 0.50]], dtype=np.float32))
    assert sinks.keep(2, 4).tolist() == [[0]]
    sinks.kept_share = 1.0
    assert sinks.keep(2, 4).tolist() == [[0, 1]]


def test_ties_go_to_the_heavier():
    sinks = StableSinks(0.5)
    sinks.update(np.array([[0.2, 0.3, 0.25, 0.25]], dtype=np.float32))
    assert sinks.keep(0, 0).tolist() == [[1, 2]]


def test_the_block_itself_is_never_kept_and_rows_may_differ():
    sinks = StableSinks(0.5)
    sinks.update(np.array([[9, 1, 2, 3], [9, 3, 2, 1]], dtype=np.float32))
    kept = sinks.keep(0, 1)
    assert kept.tolist() == [[2, 3], [1, 2]]


def test_history_counts_passes():
    history = SinkHistory.blank(1, 4)
    for _ in range(3):
        history = history.seen(np.array([[4, 3, 2, 1]], dtype=np.float32))
    assert history.hits.tolist() == [[3, 3, 0, 0]]
    assert history.mass.tolist() == [[12, 9, 6, 3]]


def test_outside_leaves_out_the_block():
    assert outside(2, 6, 2, 4).tolist() == [[0, 1, 4, 5]] * 2
