"""Problems with given text on both sides of the blank: read, decoded, judged and refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwsearch.compression.pruning.calibration import noisy_passes
from hwsearch.decoding.batches import Given
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.digest import questions_digest, text_digest
from hwsearch.denoisers.chat.asking import Infilling
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.errors import InputError
from hwsearch.latency.operators import Workload
from hwsearch.plan import Decoding
from hwsearch.sinks import calibrate_sinks, record_sinks
from hwsearch.study.preparation import default_workload, prompted_workload
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.files.problem_files import problem_files
from hwsearch.tasks.gsm8k import gsm8k
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.losses.pricing import DecodedProblems, make_price
from hwsearch.tasks.problem import Problem, read_problems, read_questions
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.checkpoints import stock_config, stock_model, write

MASK = 0
PROBLEMS = [
    Problem("tom has 3", "5 apples #### 5", "how many now ?"),
    Problem("tom has 4", "6 apples #### 6", "and buys 2 more"),
    Problem("tom has 5", "7 apples #### 7", "now ?"),
    Problem("tom has 6", "8 apples #### 8"),
]


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser(grouped=True)


def whole(denoiser):
    return KeptShares.keeping_all(denoiser.num_layers)


def by_hand(denoiser, problem, decoding):
    """The most certain mask of the block is written in each full pass, one a pass."""
    given = denoiser.given(problem.asked)
    tokens = torch.tensor([given.around([MASK] * decoding.gen_length)])
    first = len(given.prompt)
    for start in range(first, first + decoding.gen_length, decoding.block_length):
        for _ in range(decoding.block_length):
            block = slice(start, start + decoding.block_length)
            best = denoiser.logits(tokens)[0, block].softmax(dim=-1).max(dim=-1)
            confidence = best.values.where(tokens[0, block] == MASK, -1.0)
            place = int(confidence.argmax())
            tokens[0, start + place] = best.indices[place]
    return tokens[0].tolist()


class TestDecoding:
    def test_a_blank_is_filled_as_by_hand(self, denoiser):
        decoding = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=1)
        decoded = DecodedProblems(denoiser, PROBLEMS).decoded(
            denoiser.network, whole(denoiser), decoding
        )
        texts = set()
        for problem, found in zip(PROBLEMS, decoded.problems, strict=True):
            tokens = found.found.tokens[found.row].tolist()
            assert tokens == by_hand(denoiser, problem, decoding)
            texts.add(tuple(found.generated.tolist()))
            given = denoiser.given(problem.asked)
            assert tokens[: len(given.prompt)] == list(given.prompt)
            assert tokens[found.blank.stop :] == list(given.suffix)
        assert len(texts) > 1

    def test_what_is_behind_the_blank_changes_what_is_written(self, denoiser):
        problems = [PROBLEMS[0], replace(PROBLEMS[0], suffix="")]
        first, second = DecodedProblems(denoiser, problems).reference.problems
        assert first.generated.tolist() != second.generated.tolist()

    def test_evaluation_writes_what_is_decoded(self, denoiser):
        backend = backend_of(denoiser.network, whole(denoiser))
        found = evaluate(backend, denoiser, PROBLEMS)
        decoded = DecodedProblems(denoiser, PROBLEMS)
        assert list(found.texts) == decoded.texts(decoded.reference)
        assert found.prompts[0] == tuple(denoiser.prompt("tom has 3"))

    def test_shots_and_chat_templates_are_before_the_blank_alone(self, denoiser):
        shots = [Problem("tom has 1", "1 #### 1", "never shown")]
        task = gsm8k(None, shots, 1)
        chat = ChatTemplate("tom {{ messages[0].content }} has", {}, "here")
        seen = []

        class Spy:
            def begin(self):
                pass

            def refresh(self, tokens, start, stop):
                seen.append(denoiser.tokenizer.decode(tokens[0].tolist()))
                return backend.refresh(tokens, start, stop)

            def step(self, tokens, start, stop):
                return backend.step(tokens, start, stop)

        backend = backend_of(denoiser.network, whole(denoiser))
        backend.begin()
        evaluate(Spy(), denoiser, PROBLEMS[:1], task=task, chat=chat)
        assert all(text.endswith("how many now ?") for text in seen)
        assert all("shown" not in text for text in seen)


class TestLosses:
    @pytest.mark.parametrize("name", ["kl", "agreement"])
    def test_the_uncompressed_model_loses_nothing(self, denoiser, name):
        loss = make_loss(name, denoiser, PROBLEMS)
        assert loss.loss(denoiser.network, whole(denoiser)) == pytest.approx(0.0, abs=1e-7)
        other = tiny_denoiser(seed=1, grouped=True)
        assert loss.loss(other.network, whole(denoiser)) > 0.0
        assert loss.cost > 0

    def test_frozen_states_hold_the_suffix(self, denoiser):
        loss = make_loss("kl", denoiser, PROBLEMS)
        ends = {tuple(denoiser.suffix(problem.suffix)) for problem in PROBLEMS}
        for state in loss.states:
            for tokens in (state.at_refresh, state.at_step):
                behind = tokens[:, state.stop :]
                assert any(tuple(behind[0, behind.shape[1] - len(end) :]) == end for end in ends)
        assert {problem.blank.stop for problem in loss.written.problems} == {4 + 8}

    def test_the_likelihood_is_that_of_full_passes(self, denoiser):
        """Recomputed: the cache of an uncompressed model at equal tokens is exact."""
        loss, total = make_loss("nll", denoiser, PROBLEMS), 0.0
        for batch in loss.batches:
            tokens = torch.from_numpy(batch.masked(denoiser.mask_token_id))
            start, size = batch.given.prompts.shape[1], batch.targets.shape[1]
            assert tokens.shape[1] == start + size + batch.given.suffixes.shape[1]
            logp = denoiser.logits(tokens).log_softmax(-1)[:, start : start + size]
            right = logp.gather(-1, torch.from_numpy(batch.targets)[..., None])[..., 0]
            total -= float((right.numpy() * batch.weights).sum())
        found = loss.loss(denoiser.network, whole(denoiser))
        assert found == pytest.approx(total, rel=1e-4)

    def test_digits_are_judged_with_the_suffix_in_sight(self, denoiser):
        with_suffix = make_loss("digits", denoiser, PROBLEMS[:1])
        without = make_loss("digits", denoiser, [replace(PROBLEMS[0], suffix="")])
        one, other = (
            loss.loss(denoiser.network, whole(denoiser)) for loss in (with_suffix, without)
        )
        assert one != other and with_suffix.cost < without.cost

    @pytest.mark.parametrize("name", ["chain-total", "every4-regret", "pass-total", "texts"])
    def test_prices_leave_the_suffix_in_its_place(self, denoiser, name):
        problems = DecodedProblems(denoiser, PROBLEMS)
        price = make_price(problems, name)
        assert price.price(problems.reference) == 0.0
        if name == "texts":
            return
        for problem in problems.reference.problems:
            for state in price.scorer.view.states(problem, MASK):
                behind = problem.found.tokens[problem.row, problem.blank.stop :]
                assert state.tokens[problem.blank.stop :].tolist() == behind.tolist()
                assert state.judged.max() < problem.blank.stop

    def test_states_for_pruning_mask_the_blank_alone(self, denoiser):
        sequences = [(Given((5, 6), (7,)), [8, 9]), ([5, 6, 7], [8, 9])]
        (levels,) = noisy_passes(denoiser, sequences, times=[1.0])
        assert levels[0].tolist() == [[5, 6, 0, 0, 7], [5, 6, 7, 0, 0]]

    def test_sinks_are_those_of_whole_sequences(self, denoiser):
        questions = [problem.asked for problem in PROBLEMS]
        profile = calibrate_sinks(denoiser, questions)
        longest = max(len(denoiser.given(question)) for question in questions) + 8
        assert len(profile.static["mass"].from_end[0]) == longest
        lengths = {
            part.tokens.shape[-1] for part in record_sinks(denoiser, questions, keep_passes=True)
        }
        assert max(lengths) == longest


class TestFiles:
    def test_a_line_may_hold_a_suffix(self, tmp_path):
        path = tmp_path / "mine.jsonl"
        lines = [{"question": f"{n}", "answer": f"#### {n}", "suffix": "\nend"} for n in range(5)]
        del lines[1]["suffix"]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert [problem.suffix for problem in read_problems(path)] == ["\nend", ""] + ["\nend"] * 3
        assert problem_files(path).problems("test", 9, 0)[1] == Problem("4", "#### 4", "\nend")
        choice = TaskChoice(task="problems", task_path=str(path))
        assert choice.calibration_questions() == [Infilling("0", "\nend"), Infilling("3", "\nend")]
        assert choice.reference_questions() == [Infilling("2", "\nend")]
        assert choice.of_split("test", 1)[0].asked == "1", "a question alone stays a text"

    def test_questions_may_have_one_too(self, tmp_path):
        path = tmp_path / "q.jsonl"
        path.write_text('{"question": "a", "suffix": "b"}\n')
        assert read_questions(path) == [Problem("a", "", "b")]
        assert Problem.of(Infilling("a", "b")) == Problem("a", "", "b")
        assert Problem.of("a") == Problem("a", "")

    @pytest.mark.parametrize(
        ("value", "kind"), [("3", "int"), ("null", "NoneType"), ('["x"]', "list")]
    )
    def test_a_suffix_that_is_no_text_is_named_with_its_line(self, tmp_path, value, kind):
        path = tmp_path / "bad.jsonl"
        good = '{"question": "a", "answer": "#### 1"}\n'
        path.write_text(f'{good}{good[:-2]}, "suffix": {value}}}\n')
        with pytest.raises(InputError, match=rf'bad\.jsonl:2: "suffix" .* of type {kind}') as error:
            read_problems(path)
        assert "\n" not in str(error.value)


class TestWorkload:
    def test_times_count_the_median_suffix(self, denoiser, tmp_path):
        path = tmp_path / "mine.jsonl"
        suffixes = ["", "now", "now ?", "how many now", "how many now ?"]
        lines = [{"question": "tom has 3", "answer": "#### 1", "suffix": text} for text in suffixes]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        choice = TaskChoice(task="problems", task_path=str(path), calibration=str(path), limit=1)
        work = default_workload(denoiser, choice)
        assert (work.prompt_length, work.suffix_length, work.length) == (4, 2, 4 + 8 + 2)
        assert {shape.length for shape in work.counts_by_shape(denoiser.geometry)} == {14}
        asked = [problem.asked for problem in read_problems(path)]
        assert prompted_workload(denoiser, 9, asked) == replace(work, prompt_length=9)
        assert default_workload(denoiser) == Workload(
            default_workload(denoiser).prompt_length, denoiser.decoding
        )


class TestDigests:
    def test_questions_without_suffixes_have_the_digest_they_had(self, denoiser):
        questions = ["tom has 3", "tom has 4 apples"]
        before = text_digest(
            json.dumps(questions), json.dumps([denoiser.prompt(question) for question in questions])
        )
        assert questions_digest(denoiser, questions) == before
        empty = [Infilling(question, "") for question in questions]
        assert questions_digest(denoiser, empty) == before

    def test_another_suffix_is_another_content(self, denoiser):
        digests = {
            questions_digest(denoiser, [Infilling("tom has", suffix)])
            for suffix in ("", "now", "now ?")
        }
        assert len(digests) == 3


class TestAutoregressive:
    @pytest.fixture(scope="class")
    def causal(self, tmp_path_factory):
        from hwsearch.denoisers.loading.options import ModelOptions

        config = {**stock_config("llama", 2), "max_position_embeddings": 512}
        del config["mask_token_id"]
        folder = tmp_path_factory.mktemp("models") / "causal"
        write(folder, config, stock_model("Llama", kv_heads=2).state_dict())
        return ModelOptions(causal=True, gen_length=8).load(str(folder))

    @pytest.mark.parametrize("loss", ["kl", "nll"])
    def test_it_takes_no_suffix(self, causal, loss):
        said = r"is autoregressive, so it cannot see a text behind what it writes; leave \"suffix\" out"
        with pytest.raises(InputError, match=said):
            make_loss(loss, causal, PROBLEMS)
        backend = backend_of(causal.network, whole(causal))
        with pytest.raises(InputError, match=said):
            evaluate(backend, causal, PROBLEMS[:1])
        assert causal.given("tom has") == Given(tuple(causal.prompt("tom has")))


def test_a_token_without_a_row_is_named_in_a_suffix_too(denoiser):
    denoiser = tiny_denoiser(vocab_size=32)
    denoiser.tokenizer.add_special_tokens(["<new>"])
    with pytest.raises(InputError, match=r"has '<new>'.*outside the model's"):
        denoiser.given(Infilling("tom has", "now <new>"))


def test_a_plan_that_drops_positions_is_judged_with_suffixes(denoiser):
    loss = make_loss("kl", denoiser, PROBLEMS)
    dropping = loss.loss(denoiser.network, KeptShares((1.0, 0.3)))
    assert np.isfinite(dropping) and dropping > 0.0
