"""Windows, stops and policies in the sampler: which passes run, on which rows, and what they write."""

import numpy as np
import pytest

from hwsearch.decoding.backend import Prediction
from hwsearch.decoding.passes import PassCall, PassKind, counted, kinds
from hwsearch.decoding.sampler import generation
from hwsearch.decoding.trajectory import frozen_passes, record, replay
from hwsearch.plan import Decoding

MASK, END, PROMPT = 0, 7, 5


def decoding(**changes):
    base = {"gen_length": 16, "block_length": 4, "refresh_interval": 4}
    return Decoding.model_validate(base | {"commit": {"policy": "threshold"}} | changes)


class Scripted:
    """Is certain of two tokens in each pass, the first masks of the block; keeps what it was asked."""

    def __init__(self, end_from=None):
        self.asked, self.end_from = [], end_from

    def begin(self, **_):
        self.asked = []

    def refresh(self, tokens, start, stop, *scope):
        return self._answer("refresh", tokens, start, stop, scope)

    def step(self, tokens, start, stop, *scope):
        return self._answer("step", tokens, start, stop, scope)

    refresh_logits, step_logits = refresh, step

    def _answer(self, kind, tokens, start, stop, scope):
        self.asked.append((kind, tokens.copy(), start, stop, scope))
        masked = tokens[:, start:stop] == MASK
        confidence = np.where(masked & (masked.cumsum(axis=1) <= 2), 0.95, 0.5).astype(np.float32)
        found = np.full(masked.shape, 3)
        if self.end_from is not None:
            found[:, np.arange(start, stop) >= self.end_from] = END
        return Prediction(found, confidence)


def run(decoding, backend=None, batch=1, **more):
    backend = backend or Scripted()
    prompts = np.full((batch, PROMPT), 9)
    return backend, generation(backend, prompts, decoding, MASK, **more)


def shapes(found):
    return [(r.call.shape.kind.value, r.call.shape.rows, r.call.shape.length) for r in found.passes]


def test_a_policy_takes_the_passes_it_needs():
    backend, found = run(decoding())
    assert shapes(found) == [("refresh", 21, 21), ("step", 4, 21)] * 4
    assert [len(asked[4]) for asked in backend.asked] == [0] * 8, "plain passes have no scope"
    assert (found.tokens[0, PROMPT:] == 3).all()
    assert found.written[0].tolist() == [
        p for b in range(4) for p in (2 * b,) * 2 + (2 * b + 1,) * 2
    ]
    assert dict(kinds(counted(found.passes))) == {
        PassKind.REFRESH: 4,
        PassKind.ADVANCE: 0,
        PassKind.STEP: 4,
    }


def test_steps_run_their_window_as_far_as_the_sequence_goes():
    backend, found = run(decoding(window={"before": 3, "after": 2}))
    rows = [asked[4][0].rows for asked in backend.asked if asked[0] == "step"]
    assert rows == [(2, 11), (6, 15), (10, 19), (14, 21)]
    _, found = run(decoding(window={"after": None}))
    assert [s[1] for s in shapes(found)] == [21, 16, 21, 12, 21, 8, 21, 4]


def test_an_advance_runs_the_block_before_and_stores_it():
    backend, found = run(decoding(window={"before": 1, "after": 1, "advance": True}))
    assert [s[0] for s in shapes(found)] == ["refresh", "step"] + ["advance", "step"] * 3
    stored = [asked[4][0] for asked in backend.asked if asked[4] and asked[4][0].store]
    assert [scope.rows for scope in stored] == [(4, 14), (8, 18), (12, 21)]


def test_a_suffix_window_shows_the_next_masks_and_the_last_position():
    backend, found = run(decoding(suffix_window=4))
    assert [s[2] for s in shapes(found)] == [14, 14, 18, 18, 21, 21, 21, 21]
    first = backend.asked[0]
    assert first[4][0].positions.tolist() == [*range(13), 20]
    assert first[1].shape == (1, 14)
    advancing = decoding(suffix_window=4, window={"advance": True})
    backend, found = run(advancing)
    stored = [asked[4][0].rows for asked in backend.asked if asked[4] and asked[4][0].store]
    assert stored == [(5, 18), (9, 21), (13, 21)], "all that was out of sight is run"


def test_the_answer_ends_with_its_block():
    _, found = run(decoding(stop_at_end=True), Scripted(end_from=PROMPT + 6), end_tokens={END})
    assert len(found.passes) == 4, "two blocks of two passes"
    assert found.tokens[0, PROMPT:].tolist() == [3] * 6 + [END] * 10
    assert found.written[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] + [-1] * 8
    with pytest.raises(ValueError, match="tokens that end"):
        run(decoding(stop_at_end=True))


def test_samples_of_a_batch_wait_for_each_other_and_are_counted_by_themselves():
    class Uneven(Scripted):
        def _answer(self, *args):
            found = super()._answer(*args)
            found.confidence[0] = 0.95  # the first sample is certain of all
            return found

    _, found = run(decoding(), Uneven(), batch=2)
    assert [sum(counted(found.passes, row).values()) for row in (0, 1)] == [4, 8]
    assert found.written[0].max() == 3 and found.written[1].max() == 7


def test_samples_that_refresh_at_times_of_their_own_are_decoded_one_by_one():
    backend, found = run(decoding(refresh_interval=2), batch=3)
    assert {asked[1].shape[0] for asked in backend.asked} == {1}
    assert found.tokens.shape == (3, PROMPT + 16)
    assert [sum(counted(found.passes, row).values()) for row in range(3)] == [8, 8, 8]


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"window": {"before": 2, "after": 1}},
        {"window": {"advance": True}},
        {"suffix_window": 4},
        {"suffix_window": 4, "window": {"before": 1, "advance": True}},
        {"stop_at_end": True},
        {"refresh_interval": 1},
        {"window": {"slide": True, "before": 2}},
        {"window": {"slide": True}, "suffix_window": 4, "refresh_interval": 3, "stop_at_end": True},
    ],
    ids=str,
)
def test_each_pass_is_run_again_on_what_it_saw(changes, history):
    chosen = decoding(**changes)
    backend = Scripted(end_from=PROMPT + 6)
    trajectory = record(backend, [9] * PROMPT, chosen, MASK, end_tokens={END})
    saw = backend.asked
    calls = trajectory.passes(chosen)
    assert [(c.shape.kind is PassKind.REFRESH) for c in calls] == [a[0] == "refresh" for a in saw]
    found = list(frozen_passes(trajectory, range(len(calls)), chosen, MASK, history=history))
    assert [one.index for one in found] == list(range(len(saw)))
    for one in found:
        replay(backend, one)
        *before, last = backend.asked
        assert (last[0], *last[2:4]) == (saw[one.index][0], *saw[one.index][2:4])
        np.testing.assert_array_equal(last[1], saw[one.index][1])
        # nothing but what stays in the cache is run before, the last refresh at the latest
        assert all(asked[0] == "refresh" or asked[4][0].store for asked in before)
        assert (before or [last])[0][0] == "refresh"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"suffix_window": 3}, "suffix_window 3 is shorter than block_length 4"),
        (
            {"steps": 8},
            "steps 8 is of a schedule, and 'threshold' takes as many passes as it needs",
        ),
        ({"rule": "entropy"}, "rule 'entropy' is of a schedule"),
        ({"window": {"before": -1}}, "greater than or equal to 0"),
        (
            {"window": {"slide": True}, "commit": {"policy": "credit"}},
            "'credit' looks at earlier passes",
        ),
        ({"window": {"slide": True}, "commit": None, "steps": 16}, "goes by what a policy commits"),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        decoding(**changes)


def test_a_pass_is_what_the_sampler_asks_for():
    call = PassCall.of(decoding(), PassKind.STEP, 5, 21)
    tokens = np.zeros((1, 21), dtype=np.int64)
    assert call.arguments(tokens)[1:] == (5, 9)
    assert call.scope is None and not call.is_refresh


def test_a_block_ends_where_the_model_writes_its_mask_token():
    class Blank(Scripted):
        def _answer(self, *args):
            found = super()._answer(*args)
            found.tokens[:] = MASK
            return found

    _, found = run(decoding(), Blank())
    assert len(found.passes) == 12, "two of a block in its first pass, then one each"
    assert (found.written >= 0).all()


def test_a_sliding_block_begins_at_the_first_mask_and_stores_what_it_runs():
    chosen = decoding(window={"slide": True, "before": 3}, refresh_interval=99)
    backend, found = run(chosen)
    assert [asked[2] for asked in backend.asked] == [5, 7, 9, 11, 13, 15, 17, 17]
    assert [r.call.shape.kind for r in found.passes] == [PassKind.REFRESH] + [PassKind.ADVANCE] * 7
    assert [asked[4][0].rows for asked in backend.asked[1:3]] == [(4, 11), (6, 13)]
    assert (found.tokens[0, PROMPT:] == 3).all() and (found.written >= 0).all()
    stops = chosen.changed({"stop_at_end": True})
    _, found = run(stops, Scripted(end_from=PROMPT + 3), batch=2, end_tokens={END})
    assert found.tokens[1, PROMPT:].tolist() == [3] * 3 + [END] * 13
    assert [sum(counted(found.passes, row).values()) for row in (0, 1)] == [2, 2]


@pytest.mark.parametrize("changes", [{}, {"window": {"slide": True, "before": 2}}], ids=str)
def test_what_was_written_behind_an_end_token_stays_as_the_passes_saw_it(changes):
    class EndsOnce(Scripted):
        def _answer(self, kind, tokens, start, *rest):
            found = super()._answer(kind, tokens, start, *rest)
            found.tokens[:, np.arange(start, start + 4) == PROMPT] = END
            return found

    backend = EndsOnce()
    chosen = decoding(stop_at_end=True, **changes)
    trajectory = record(backend, [9] * PROMPT, chosen, MASK, end_tokens={END})
    saw = backend.asked
    calls = trajectory.passes(chosen)
    assert len(calls) == len(saw)
    for index, asked in enumerate(saw):
        np.testing.assert_array_equal(trajectory.seen_by(index, MASK), asked[1])
    written = trajectory.written >= 0
    assert set(trajectory.tokens[PROMPT:][~written]) == {END}
