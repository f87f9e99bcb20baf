"""A template that comes with a model is text, whatever it looks like."""

import pytest
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from hwsearch.denoisers.chat.asking import encoded, prompt_tokens, suffix_tokens, worded
from hwsearch.errors import CheckpointError
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


def test_a_pattern_that_its_library_gives_up_on_is_told_in_one_line():
    tokenizer = tiny_tokenizer()
    tokenizer.pre_tokenizer = Split(Regex("(x+x+)+y"), "isolated")
    assert encoded(tokenizer, "xxy")
    ask = (
        lambda text: prompt_tokens(text, "text", tokenizer, "{question}", None),
        lambda text: suffix_tokens(text, tokenizer),
    )
    for tokens in ask:
        with pytest.raises(CheckpointError, match=r"tokenizers gives up: .*retry-limit") as refused:
            tokens("x" * 40)
        assert len(str(refused.value).splitlines()) == 1
