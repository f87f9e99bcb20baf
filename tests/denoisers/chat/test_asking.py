"""A template that comes with a model is text, whatever it looks like."""

import pytest

from hwsearch.denoisers.chat.asking import prompt_tokens, worded
from hwsearch.testing.tiny import tiny_tokenizer


@pytest.mark.parametrize(
    "field",
    ["{question.__class__}", "{question:300000000}", "{question!r:>99}", "{0}", "{", "}}", "{{x}}"],
)
def test_nothing_of_a_template_is_formatted_or_looked_up(field):
    assert worded(f"{field} {{question}} {field}", "how many ?") == f"{field} how many ? {field}"


def test_a_question_that_looks_like_a_field_is_asked_as_it_is():
    tokenizer = tiny_tokenizer()
    found = prompt_tokens("tom {question} has", "template", tokenizer, "{question} :", None)
    assert found == tokenizer.encode("tom {question} has :").ids
