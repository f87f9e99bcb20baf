import numpy as np
import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import PassKind, kinds
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.tasks.losses.pricing import DecodedProblems
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser
from tests.tasks.losses.pricing.made import END, decoded_of

PROBLEMS = [
    Problem("tom has 4 apples and buys 5 more ?", "#### 9"),
    Problem("tom has 3 apples ?", "#### 3"),
    Problem("tom has 4 apples ?", "#### 4"),
]


@pytest.fixture(scope="module")
def problems():
    return DecodedProblems(tiny_denoiser(), PROBLEMS)


def test_answers_come_in_the_order_of_the_problems(problems):
    denoiser = problems.denoiser
    backend = backend_of(denoiser.network, KeptShares.keeping_all(2))
    for problem, given in zip(problems.reference.problems, problems.prompts, strict=True):
        prompt = given.prompt
        alone = generate(backend, np.array([prompt]), denoiser.decoding, denoiser.mask_token_id)
        assert problem.trajectory.tokens.tolist() == alone[0].tolist()
        assert problem.blank.start == len(prompt)
        assert problem.written_count == denoiser.decoding.gen_length


def test_passes_are_those_of_each_problem(problems):
    decoding = problems.denoiser.decoding
    for problem in problems.reference.problems:
        found = dict(kinds(problem.passes))
        assert found[PassKind.REFRESH] == decoding.refreshes
        assert sum(found.values()) == decoding.steps
    lengths = [len(problem.finished) for problem in problems.reference.problems]
    steps = decoding.steps - decoding.refreshes
    work = sum(decoding.refreshes + steps * decoding.block_length / length for length in lengths)
    assert problems.reference.cost == pytest.approx(work)


def test_a_text_ends_with_its_first_end_token():
    ended = decoded_of([5, 6], [7, 8, END, 9]).problems[0]
    assert ended.text_count == 3
    assert ended.finished.tolist() == [5, 6, 7, 8, END, END]
    endless = decoded_of([5, 6], [7, 8, 9, 9]).problems[0]
    assert endless.text_count == 4
    assert endless.finished.tolist() == [5, 6, 7, 8, 9, 9]


def test_tokens_never_written_are_not_counted_as_written():
    problem = decoded_of([5], [7, END, END, END], [0, 1, -1, -1]).problems[0]
    assert (problem.text_count, problem.written_count) == (2, 2)


def test_the_first_problems_alone(problems):
    assert problems.reference.first(2).problems == problems.reference.problems[:2]
