from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import AddedToken

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.backend import Prediction
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.jobs.evaluation import BundleModel
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.runtime import Runtime
from hwsearch.runtime.bundle import Bundle
from hwsearch.tasks.catalog import load_task
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import GSM_MINI, score_answers
from hwsearch.testing.tiny import tiny_denoiser, tiny_tokenizer

PROBLEMS = [
    Problem("tom has 3 apples", "#### 3"),
    Problem("tom has 4 apples and buys 2 more", "#### 6"),
    Problem("tom has 5 apples", "#### 5"),
]


class Scribe:
    """Writes a fixed answer after each prompt, looked up by the prompt's tokens."""

    tokenizer = tiny_tokenizer()
    mask_token_id, end_token_id = 0, 1
    decoding = Decoding(gen_length=4, block_length=4, steps=1, refresh_interval=1)

    def __init__(self, answers: dict[str, list[int]]) -> None:
        self.answers = {tuple(self.prompt(question)): ids for question, ids in answers.items()}
        self.batches: list[int] = []

    def prompt(self, question: str) -> list[int]:
        return self.tokenizer.encode(question).ids

    def begin(self) -> None:
        pass

    def refresh(self, tokens, start, stop) -> Prediction:
        self.batches.append(len(tokens))
        rows = [self.answers[tuple(row[:start])] for row in tokens.tolist()]
        return Prediction(np.array(rows), np.ones((len(rows), 4), dtype=np.float32))

    def step(self, tokens, start, stop) -> Prediction:
        raise AssertionError("one pass is a refresh")


def test_answers_keep_the_order_of_their_problems_and_end_at_the_end_token():
    word = Scribe.tokenizer.token_to_id
    answers = {
        PROBLEMS[0].question: [word("has"), word("3"), 1, word("9")],
        PROBLEMS[1].question: [word("6"), word("buys"), word("7"), word("now")],
        PROBLEMS[2].question: [1, word("5"), word("5"), word("5")],
    }
    scribe = Scribe(answers)
    told: list[int] = []
    found = evaluate(scribe, scribe, PROBLEMS, progress=told.append)
    assert found.texts == ("has 3", "6 buys 7 now", "")
    assert found.scores["flexible-extract"].correct == (True, False, False)
    assert found.scores["strict-match"].correct == (False, False, False)
    assert found.accuracy == 0.0
    # equal lengths run together, and nothing is padded
    assert sorted(scribe.batches) == [1, 2]
    assert sum(told) == 3


def test_batches_do_not_change_what_a_model_writes():
    denoiser = tiny_denoiser()
    problems = [Problem(f"tom has {n} apples", "#### 1") for n in range(5)]
    written = [
        evaluate(
            TorchBackend(denoiser.network, KeptShares((0.5, 1.0))), denoiser, problems, batch=batch
        ).texts
        for batch in (1, 2, 5)
    ]
    assert written[0] == written[1] == written[2]
    assert len(set(written[0])) > 1


def test_decoding_can_be_chosen():
    denoiser = tiny_denoiser()
    short = Decoding(gen_length=2, block_length=2, steps=2, refresh_interval=1)
    backend = TorchBackend(denoiser.network, KeptShares.keeping_all(2))
    found = evaluate(backend, denoiser, PROBLEMS, decoding=short)
    assert found.decoding == short
    assert all(len(text.split()) <= 2 for text in found.texts)


def test_gsm_mini_scores_its_own_answers_in_full():
    problems = GSM_MINI.problems("test", 20, 0)
    assert score_answers(problems, [p.answer for p in problems]).accuracy == 1.0
    wrong = score_answers(problems, [f"{p.answer}0" for p in problems])
    assert wrong.accuracy == 0.0
    assert wrong.interval.low == 0.0 < wrong.interval.high < 0.2


def test_scores_need_a_text_a_problem():
    with pytest.raises(ValueError):
        score_answers(PROBLEMS, ["#### 3"])
    with pytest.raises(ValueError, match="a problem"):
        score_answers([], [])


def test_tasks_are_found_by_name():
    assert load_task("gsm-mini") is GSM_MINI
    with pytest.raises(UnknownNameError, match="did you mean 'gsm8k'"):
        load_task("gsm8")
    with pytest.raises(InputError, match="reads no path"):
        load_task("gsm-mini", "somewhere")


def test_scoring_imports_neither_torch_nor_scipy():
    program = (
        "import sys, hwsearch.tasks, hwsearch.tasks.catalog, hwsearch.tasks.harness_results\n"
        "heavy = {'torch', 'scipy', 'transformers', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class TestEndsAlike:
    """A stop that is a special token ends an answer in torch and in a bundle."""

    @pytest.fixture(scope="class")
    def denoiser(self):
        denoiser = tiny_denoiser()
        special = denoiser.tokenizer.id_to_token(self.written(denoiser)[2])
        tokenizer = tiny_tokenizer()
        tokenizer.add_special_tokens([AddedToken(special, special=True)])
        return replace(denoiser, tokenizer=tokenizer)

    def written(self, denoiser) -> list[int]:
        """What the model writes after the first question, before anything is cut."""
        prompt = np.array([denoiser.prompt(PROBLEMS[0].question)])
        backend = TorchBackend(denoiser.network, KeptShares.keeping_all(2))
        tokens = generate(backend, prompt, denoiser.decoding, denoiser.mask_token_id)
        return tokens[0, prompt.shape[1] :].tolist()

    def test_evaluation_and_bundle(self, denoiser, tmp_path):
        tokens = self.written(denoiser)
        stop = denoiser.tokenizer.id_to_token(tokens[2])
        first = tokens.index(tokens[2])
        wanted = denoiser.tokenizer.decode(tokens[:first])
        assert wanted != denoiser.tokenizer.decode(tokens)
        backend = TorchBackend(denoiser.network, KeptShares.keeping_all(2))
        task = replace(GSM_MINI, stops=(stop,))
        ours = evaluate(backend, denoiser, PROBLEMS[:1], task=task).texts
        assert [text.rstrip() for text in ours] == [wanted]
        plan = CompressionPlan.uniform(2, decoding=denoiser.decoding)
        bundle = write_bundle(
            compress(denoiser, plan), KeptShares.keeping_all(2), tmp_path / "bundle"
        )
        runtime = Runtime(bundle, threads=1)
        assert runtime.generate(PROBLEMS[0].question, stops=(stop,)).rstrip() == wanted
        assert evaluate(
            runtime.backend, BundleModel(runtime), PROBLEMS[:1], task=task, batch=1
        ).texts == tuple(ours)

    def test_every_end_token_of_a_model_ends_a_bundle_too(self, denoiser, tmp_path):
        tokens = self.written(denoiser)
        plan = CompressionPlan.uniform(2, decoding=denoiser.decoding)
        bundle = write_bundle(
            compress(denoiser, plan), KeptShares.keeping_all(2), tmp_path / "bundle"
        )
        end = tokens[1]
        manifest = bundle.manifest.model_copy(update={"end_token_ids": (end,)})
        runtime = Runtime(Bundle(bundle.path, manifest), threads=1)
        kept = tokens[: tokens.index(end)]
        assert runtime.generate(PROBLEMS[0].question) == denoiser.tokenizer.decode(kept)
