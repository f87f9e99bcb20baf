"""A blank between two given texts: which positions are written, seen and left alone."""

import numpy as np
import pytest

from hwsearch.decoding.batches import Blank, Given, batches_of_equal_length, groups_of_equal_length
from hwsearch.decoding.cache import SinkHistory
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.pass_counts import PassCounts, PassPlace
from hwsearch.decoding.passes import PassCall, PassKind, counted
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.decoding.sampler import generate, generation
from hwsearch.decoding.trajectory import Trajectory, frozen_passes, record, replay
from hwsearch.plan import Decoding
from tests.decoding import test_sampler as scripted
from tests.decoding.test_windows import END, MASK, PROMPT, Scripted, decoding

#: The mask's own token among them: given is given.
SUFFIX = [8, MASK, 8]
WINDOWS = [
    {},
    {"commit": None, "steps": 8, "refresh_interval": 2},
    {"refresh_interval": 2},
    {"window": {"before": 2, "after": 2}},
    {"window": {"after": None}},
    {"window": {"advance": True}},
    {"suffix_window": 4},
    {"suffix_window": 4, "window": {"before": 1, "advance": True}},
    {"stop_at_end": True},
    {"window": {"slide": True, "before": 2}},
    {"window": {"slide": True}, "suffix_window": 4, "refresh_interval": 3, "stop_at_end": True},
]


def run(decoding, backend=None, batch=1, suffix=SUFFIX):
    backend = backend or Scripted(end_from=PROMPT + 6)
    prompts, suffixes = np.full((batch, PROMPT), 9), np.tile(suffix, (batch, 1))
    found = generation(backend, prompts, decoding, MASK, end_tokens={END}, suffixes=suffixes)
    return backend, found


def test_the_blank_is_filled_by_confidence_and_what_is_behind_it_stays():
    """By hand: the most certain of the masks at 2..6 first, whatever is certain behind them."""
    backend = scripted.Scripted([0, 0, 0.1, 0.9, 0.5, 0.7, 1.0, 1.0])
    out = generate(
        backend,
        np.array([[7, 7]]),
        scripted.decoding(4, 4, 4, 4),
        MASK,
        suffixes=np.array([[8, 9]]),
    )
    assert out.tolist() == [[7, 7, 3, 4, 5, 6, 8, 9]]
    seen = [entry[3][0, 2:].tolist() for entry in backend.log[1:]]
    assert seen == [
        [0, 0, 0, 0, 8, 9],
        [0, 4, 0, 0, 8, 9],
        [0, 4, 0, 6, 8, 9],
        [0, 4, 5, 6, 8, 9],
    ]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("changes", WINDOWS, ids=str)
def test_passes_write_in_the_blank_alone(changes, batch):
    backend, found = run(decoding(**changes), batch=batch)
    assert found.blank == Blank(PROMPT, PROMPT + 16)
    assert found.tokens.shape == (batch, PROMPT + 16 + 3)
    assert (found.tokens[:, :PROMPT] == 9).all()
    assert (found.tokens[:, PROMPT + 16 :] == SUFFIX).all()
    assert (found.tokens[:, found.blank.place] == [3] * 6 + [END] * 10).all()
    for _, tokens, start, stop, _ in backend.asked:
        assert found.blank.start <= start and stop <= found.blank.stop
        assert (tokens[:, -3:] == SUFFIX).all(), "every pass sees all of the suffix"


@pytest.mark.parametrize("changes", WINDOWS, ids=str)
def test_an_empty_suffix_is_none(changes):
    chosen = decoding(**changes)
    first, found = run(chosen, suffix=np.zeros(0, dtype=np.int64))
    second = Scripted(end_from=PROMPT + 6)
    plain = generation(second, np.full((1, PROMPT), 9), chosen, MASK, end_tokens={END})
    assert found.tokens.tolist() == plain.tokens.tolist()
    assert [r.call.shape for r in found.passes] == [r.call.shape for r in plain.passes]
    for (*ours, one), (*theirs, other) in zip(first.asked, second.asked, strict=True):
        assert [str(part) for part in ours] == [str(part) for part in theirs]
        assert str(one) == str(other)


def test_a_window_leaves_out_masks_and_no_given_text():
    chosen = decoding(suffix_window=4)
    call = PassCall.of(chosen, PassKind.REFRESH, 5, 24, 3)
    assert call.scope.positions.tolist() == [*range(13), 21, 22, 23]
    assert (call.shape.rows, call.shape.length, call.scope.tail) == (16, 16, 3)
    last = PassCall.of(chosen, PassKind.REFRESH, 13, 24, 3)
    assert last.scope.positions is None and last.shape.rows == 24
    assert PassCall.of(chosen, PassKind.REFRESH, 5, 21).scope.positions.tolist() == [*range(13), 20]


def test_a_history_that_grows_keeps_the_suffix_behind_the_masks():
    row = np.arange(6.0)[None]
    grown = SinkHistory(row, row, row, row, 2).resized(8, tail=2)
    assert grown.mass.tolist() == [[0, 1, 2, 3, 0, 0, 4, 5]]
    keeper = PositionKeeper(KeptShares((0.5,)), 0)
    keeper.see((1, 6), np.arange(6, dtype=np.float32)[None], tail=2)
    keeper.advance(8, tail=2)
    assert keeper.history.mass.tolist() == [[0, 1, 2, 3, 0, 0, 4, 5]]


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("changes", WINDOWS, ids=str)
def test_each_pass_is_run_again_on_what_it_saw(changes, history):
    chosen, given = decoding(**changes), Given((9,) * PROMPT, (8, 2, 8))
    backend = Scripted(end_from=PROMPT + 6)
    trajectory = record(backend, given, chosen, MASK, end_tokens={END})
    assert trajectory.given == given
    saw = backend.asked
    found = list(frozen_passes(trajectory, range(len(saw)), chosen, MASK, history=history))
    assert [one.index for one in found] and len(trajectory.passes(chosen)) == len(saw)
    for one in found:
        replay(backend, one)
        last = backend.asked[-1]
        assert (last[0], *last[2:4]) == (saw[one.index][0], *saw[one.index][2:4])
        np.testing.assert_array_equal(last[1], saw[one.index][1])


@pytest.mark.parametrize("changes", WINDOWS, ids=str)
def test_passes_are_counted_by_the_shapes_they_have(changes):
    chosen = decoding(**changes)
    _, found = run(chosen)
    counts = PassCounts.of(chosen, [(found, 0)], {END})
    shapes = counts.by_shape(PROMPT, suffix_length=3)
    assert {shape: int(count[0]) for shape, count in shapes.items()} == counted(found.passes)
    assert counts.tokens == (6,)


def test_a_place_has_the_rows_of_the_suffix():
    shape = PassPlace(4, PassKind.REFRESH).shape(decoding(), prompt_length=5, suffix_length=3)
    assert (shape.rows, shape.predicted) == (24, 4)


def test_groups_share_both_lengths():
    prompts = [Given((1,) * p, (2,) * s) for p, s in ((3, 1), (2, 1), (3, 0), (3, 1), (2, 1))]
    groups = list(groups_of_equal_length([*prompts, [5, 5, 5]], 2))
    assert groups == [[1, 4], [2, 5], [0, 3]]
    batches = list(batches_of_equal_length(prompts, 8))
    assert [batch.indices for batch in batches] == [[1, 4], [2], [0, 3]]
    assert [batch.suffixes.shape for batch in batches] == [(2, 1), (1, 0), (2, 1)]
    blank = np.zeros((2, 2), dtype=np.int64)
    assert batches[0].around(blank).tolist() == [[1, 1, 0, 0, 2]] * 2


def test_a_trajectory_tells_the_answer_from_the_suffix():
    """What a pass saw is told from the answer alone: the suffix is not taken for it."""
    tokens, written = np.array([9, 3, 4, 8]), np.array([1, 0])
    trajectory = Trajectory(tokens, written, suffix_length=1)
    assert trajectory.blank == Blank(1, 3)
    assert trajectory.seen_by(1, MASK).tolist() == [[9, MASK, 4, 8]]
    plan = Decoding(gen_length=2, block_length=1, steps=2, refresh_interval=1)
    assert [call.start for call in trajectory.passes(plan)] == [1, 2]
