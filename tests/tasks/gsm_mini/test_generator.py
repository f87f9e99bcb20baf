import re
from itertools import islice

import pytest

from hwsearch.errors import UnknownNameError
from hwsearch.tasks.gsm_mini.generator import LARGEST_NUMBER, SPLITS, problems
from hwsearch.tasks.gsm_mini.templates import TEMPLATES


def numbers_of(problem):
    shape = re.sub(r"\b[A-Z][a-z]+\b", "", re.sub(r"\d+", "#", problem.question))
    return shape, tuple(re.findall(r"\d+", problem.question))


def test_there_are_enough_templates_of_every_depth_and_operation():
    assert len(TEMPLATES) >= 24
    assert len({template.name for template in TEMPLATES}) == len(TEMPLATES)
    assert {len(template.steps) for template in TEMPLATES} == {2, 3, 4}
    operations = {step.split()[-2] for template in TEMPLATES for step in template.steps}
    assert operations == set("+-*/")


@pytest.mark.parametrize("split", SPLITS)
def test_every_step_is_right_and_the_last_is_the_answer(split):
    for problem in islice(problems(split), 300):
        steps = re.findall(r"<<(\d+)(.)(\d+)=(\d+)>>(\d+)", problem.answer)
        assert len(steps) == len(problem.answer.splitlines()) - 1
        known = set(re.findall(r"\d+", problem.question)) | {"2", "4"}
        for left, op, right, value, shown in steps:
            assert eval(f"{left}{op}{right}") == int(value) == int(shown)
            assert {left, right} <= known, problem
            assert 1 <= int(value) <= LARGEST_NUMBER
            known.add(value)
        assert problem.answer.splitlines()[-1] == f"#### {steps[-1][3]}"
    del split


def test_splits_share_no_numbers():
    drawn = {split: {numbers_of(p) for p in islice(problems(split), 1500)} for split in SPLITS}
    for first in SPLITS:
        for second in SPLITS:
            if first < second:
                assert not drawn[first] & drawn[second]


def test_a_seed_is_a_stream():
    first = list(islice(problems("test", 1), 50))
    assert first == list(islice(problems("test", 1), 50))
    assert first != list(islice(problems("test", 2), 50))


def test_an_unknown_split_is_named():
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        next(problems("tset"))
