import pytest

from hwsearch.tasks.losses.pricing.views import EveryNth, LeftToRight, SeenByPass
from tests.tasks.losses.pricing.made import END, MASK, decoded_of

PROMPT = [5, 6]


def states(view, tokens, written=None):
    """What each state hides of the generation, and the places that it judges."""
    problem = decoded_of(PROMPT, tokens, written).problems[0]
    found = view.states(problem, MASK)
    for state in found:
        assert state.tokens[: len(PROMPT)].tolist() == PROMPT
        assert (state.tokens[state.judged] == MASK).all()
        assert state.wrote.tolist() == problem.finished[state.judged].tolist()
    return [
        (state.tokens[len(PROMPT) :].tolist(), (state.judged - len(PROMPT)).tolist())
        for state in found
    ]


def test_every_nth_token_is_hidden_in_turn():
    assert states(EveryNth(2), [7, 8, 9, 10]) == [
        ([MASK, 8, MASK, 10], [0, 2]),
        ([7, MASK, 9, MASK], [1, 3]),
    ]


def test_what_is_behind_the_end_is_neither_seen_nor_judged():
    assert states(EveryNth(2), [7, END, 9, 10]) == [
        ([MASK, END, END, END], [0]),
        ([7, MASK, END, END], [1]),
    ]


def test_one_token_at_a_time():
    found = states(EveryNth(None), [7, 8, END, 9])
    assert [judged for _, judged in found] == [[0], [1], [2]]
    assert found == states(EveryNth(48), [7, 8, END, 9])


def test_left_to_right_hides_all_that_follows():
    assert states(LeftToRight(2), [7, 8, END, 9]) == [
        ([MASK] * 4, [0, 1]),
        ([7, 8, MASK, MASK], [2]),
    ]
    assert len(states(LeftToRight(1), [7, 8, END, 9])) == 3


def test_a_pass_is_judged_by_what_it_saw():
    assert states(SeenByPass(), [7, 8, 9, 10], [1, 0, 1, 2]) == [
        ([MASK, MASK, MASK, MASK], [1]),
        ([MASK, 8, MASK, MASK], [0, 2]),
        ([7, 8, 9, MASK], [3]),
    ]


def test_passes_that_wrote_only_behind_the_end_are_left_out():
    assert states(SeenByPass(), [7, END, 9, 10], [0, 1, 2, 3])[-1][1] == [1]
    assert states(SeenByPass(), [7, END, END, END], [0, 1, -1, -1])[-1][1] == [1]


@pytest.mark.parametrize("view", [EveryNth(2), EveryNth(None), LeftToRight(1), LeftToRight(3)])
def test_every_token_of_the_text_is_judged_once(view):
    judged = [place for _, places in states(view, [7, 8, 9, END, 11, 12]) for place in places]
    assert sorted(judged) == [0, 1, 2, 3]
