"""Questions become the same tokens, and tokens the same answers, by the tokenizers of JavaScript."""

import json
import random

import pytest

from hwsearch.decoding.answer import answer_text, partial_text
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.runtime.web import write_runner
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.testing.tiny import tiny_tokenizer
from tests.decoding.test_answer import bytewise, fused
from tests.runtime.web.node import HERE, run, with_modules

QUESTIONS = ["tom has 3 apples", "how many  now ?", "Mia's 12, and more: 3*4=12", "é 18", ""]


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    return with_modules(write_runner(tmp_path_factory.mktemp("texts") / "web"))


def drawn(tokenizer, seed):
    """Answers whose end tokens, masks and stops are drawn."""
    rng, count = random.Random(seed), tokenizer.get_vocab_size()
    for _ in range(60):
        tokens = [rng.randrange(count) for _ in range(rng.randrange(12))]
        ends = rng.sample(range(4), rng.randrange(3))
        stops = rng.sample(["Q:", "\n\n", "18", " tom", "</s>", ""], rng.randrange(3))
        yield {"tokens": tokens, "ends": ends, "stops": stops, "mask": 3}


def answered(web, tokenizer, texts, answers):
    case = {"tokenizer": json.loads(tokenizer.to_str()), "texts": texts, "answers": answers}
    (found,) = json.loads(run(HERE / "texts.mjs", web, stdin=json.dumps([case]))[0])
    return found


@pytest.mark.parametrize("make", [fused, bytewise, tiny_tokenizer])
def test_answers_end_at_the_same_place(web, make):
    tokenizer, answers = make(), list(drawn(make(), seed=0))
    found = answered(web, tokenizer, [], answers)
    for case, text, partial in zip(answers, found["answers"], found["partial"], strict=True):
        tokens, ends = case["tokens"], case["ends"]
        assert text == answer_text(tokenizer, tokens, ends, case["stops"]), case
        assert partial == partial_text(tokenizer, tokens, case["mask"], ends), case


def test_gsm_mini_reads_and_writes_the_same(web):
    denoiser = load_denoiser("gsm-mini")
    tokenizer, ends = denoiser.tokenizer, [denoiser.end_token_id]
    asked = [
        problem.question for _, problem in zip(range(40), problems("validation"), strict=False)
    ]
    texts = [*QUESTIONS, *asked]
    ids = [tokenizer.encode(text).ids for text in texts]
    answers = [{"tokens": one, "ends": ends, "stops": ["bag"], "mask": 0} for one in ids]
    found = answered(web, tokenizer, texts, answers)
    assert found["ids"] == ids
    assert found["answers"] == [answer_text(tokenizer, one, ends, ["bag"]) for one in ids]
