import numpy as np
import pytest
import torch

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import Generation
from hwsearch.errors import UnknownNameError
from hwsearch.tasks.extraction import Filter
from hwsearch.tasks.losses.pricing import PRICES, Decoded, DecodedProblems, make_price
from hwsearch.tasks.losses.pricing.answers import AnswerAgreement, ExactMatch, SequentialMatch
from hwsearch.tasks.losses.pricing.decoded import DecodedProblem
from hwsearch.tasks.losses.pricing.likelihood import (
    MOST_REGRET,
    mean_regret,
    mean_surprise,
    total_regret,
    worst_regret,
)
from hwsearch.tasks.losses.pricing.scores import TextScorer, TextScores
from hwsearch.tasks.losses.pricing.views import EveryNth, LeftToRight
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser
from tests.tasks.losses.pricing.made import MASK, decoded_of

PROBLEMS = [
    Problem("tom has 3 apples ?", "#### 3"),
    Problem("tom has 4 apples and buys 5 more ?", "#### 9"),
    Problem("tom has 4 apples ?", "#### 4"),
]
#: Prices that look at the finished text alone, by mean probabilities.
OF_TEXT = [
    name
    for name in PRICES
    if name.endswith(("surprise", "regret", "total")) and not name.startswith("pass")
]


@pytest.fixture(scope="module")
def problems():
    return DecodedProblems(tiny_denoiser(), PROBLEMS)


def ended_at(place, decoded, behind, written=None):
    """The same with end tokens from a place on, and other tokens or passes behind the first."""
    changed = []
    for problem in decoded.problems:
        tokens = problem.found.tokens[problem.row].copy()
        passes = np.arange(len(problem.written))
        tokens[problem.blank.start + place] = 1
        tokens[problem.blank.start + place + 1 :] = behind
        if written is not None:
            passes[place + 1 :] = written
        found = Generation(tokens[None], passes[None], ())
        changed.append(DecodedProblem.of(found, 0, {1}))
    return Decoded(decoded.decoding, tuple(changed))


@pytest.mark.parametrize("name", PRICES)
def test_the_uncompressed_model_as_its_makers_decode_pays_nothing(name, problems):
    price = make_price(problems, name)
    own = problems.decoded(problems.denoiser.network, KeptShares.keeping_all(2), None)
    assert price.name == name
    assert price.price(own) == 0.0
    assert price.cost >= 0.0


@pytest.mark.parametrize("name", PRICES)
def test_what_is_behind_the_end_changes_no_price(name, problems):
    """As where `stop_at_end` leaves it unwritten."""
    price = make_price(problems, name)
    stopped = price.price(ended_at(4, problems.reference, behind=1, written=-1))
    assert price.price(ended_at(4, problems.reference, behind=9)) == stopped


@pytest.mark.parametrize("name", OF_TEXT)
def test_a_wrong_token_is_paid_for(name, problems):
    price = make_price(problems, name)
    original = problems.reference.problems[0]
    wrong = original.found.tokens[original.row].copy()
    last = len(wrong) - 1  # nothing follows that could find it likely
    seen = wrong.copy()
    seen[last] = MASK
    logits = problems.denoiser.logits(torch.from_numpy(seen[None]))[0, last].clone()
    logits[1] = torch.inf  # an end token would not be worse here alone
    wrong[last] = int(logits.argmin())
    found = Generation(wrong[None], original.written[None], ())
    changed = DecodedProblem.of(found, 0, {1})
    rest = problems.reference.problems[1:]
    assert price.price(Decoded(problems.reference.decoding, (changed, *rest))) > 0.01


def test_scores_are_those_of_full_passes_by_hand(problems):
    denoiser = problems.denoiser
    tokens = [12, 13, 14, 15]
    found = TextScorer(denoiser, LeftToRight(1)).scores(decoded_of([5, 6], tokens))[0]
    for place, token in enumerate(tokens):
        seen = [5, 6, *tokens[:place], *[MASK] * (4 - place)]
        logp = denoiser.logits(torch.tensor([seen]))[0, 2 + place].log_softmax(-1)
        assert found.surprise[place] == pytest.approx(-float(logp[token]), rel=1e-4)
        regret = float(logp.max() - logp[token])
        assert found.regret[place] == pytest.approx(regret, rel=1e-4, abs=1e-5)


def test_states_that_are_known_are_not_run_again(problems):
    scorer = TextScorer(problems.denoiser, LeftToRight(1))
    scorer.scores(decoded_of([5, 6], [12, 13, 14, 15]))
    assert scorer.passes == 4
    scorer.scores(decoded_of([5, 6], [12, 13, 14, 15], [0, 0, 0, 0]))
    assert scorer.passes == 4
    scorer.scores(decoded_of([5, 6], [12, 13, 20, 15]))  # the third token anew, and what follows it
    assert scorer.passes == 6


def test_work_is_counted_before_it_is_done(problems):
    scorer = TextScorer(problems.denoiser, EveryNth(4))
    assert scorer.work(problems.reference) == 4 * len(PROBLEMS)
    assert scorer.passes == 0


def test_readings_by_hand():
    texts = [
        TextScores(np.array([1.0, 2.0]), np.array([0.0, 1.0])),
        TextScores(np.array([3.0]), np.array([100.0])),
    ]
    assert mean_surprise(texts) == 2.0
    assert mean_regret(texts) == pytest.approx(101 / 3)
    assert total_regret(texts) == 50.5
    assert worst_regret(texts) == pytest.approx((1 / MOST_REGRET + 1) / 2)


def with_texts(problems, monkeypatch, own, found):
    monkeypatch.setattr(
        DecodedProblems, "texts", lambda self, of: own if of is self.reference else found
    )
    return Decoded(problems.reference.decoding, problems.reference.problems)


def test_answers_differ_as_numbers_and_texts_without_one_as_texts(problems, monkeypatch):
    own = ["a #### 1,000", "#### 2", "no answer"]
    same = with_texts(problems, monkeypatch, own, ["b #### 1000", "#### 3", "no answer"])
    price = AnswerAgreement(problems)
    assert price.differ(same) == [False, True, False]
    assert price.price(same) == pytest.approx(1 / 3)


def test_exact_match_is_a_difference_to_the_uncompressed_model(problems, monkeypatch):
    own = ["#### 3", "#### 9", "#### 5"]
    worse = with_texts(problems, monkeypatch, own, ["#### 3", "#### 8", "#### 5"])
    assert ExactMatch(problems).price(worse) == pytest.approx(1 / 3)
    better = with_texts(problems, monkeypatch, own, ["#### 3", "#### 9", "#### 4"])
    assert ExactMatch(problems).price(better) == pytest.approx(-1 / 3)


def test_without_a_rule_whole_texts_differ(problems, monkeypatch):
    changed = with_texts(problems, monkeypatch, ["a #### 1"] * 3, ["b #### 1", "a #### 1", ""])
    assert AnswerAgreement(problems, None).differ(changed) == [True, False, True]


def test_another_rule_finds_other_answers(problems, monkeypatch):
    changed = with_texts(problems, monkeypatch, ["so 1"] * 3, ["thus 1", "so 2", "so 1"])
    rule = Filter("first", r"(\d+)", 0)
    assert AnswerAgreement(problems, rule).differ(changed) == [False, True, False]


def test_exact_match_is_left_off_when_it_is_clear():
    early = SequentialMatch(bound=0.8, step=8)
    assert early.count([False] * 64) == 8
    assert early.count([True] * 64) == 64
    assert early.count([]) == 0


def test_the_default_is_what_the_study_speaks_for(problems):
    assert make_price(problems).name == "chain-total"


def test_an_unknown_price_is_refused_by_name(problems):
    with pytest.raises(UnknownNameError, match="price"):
        make_price(problems, "cheap")
