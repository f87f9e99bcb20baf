"""What a model is judged on: splits that do not meet, wording, and calibration of a user's own."""

import json
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.tasks.choice import QUESTIONS, TaskChoice, at_quick_look
from hwsearch.tasks.task import GSM_MINI
from hwsearch.testing.tiny import tiny_denoiser

CHAT = ChatTemplate("{% for m in messages %}how {{ m.content }} many{% endfor %}")


def write(path, count, name, **more):
    lines = [
        {"question": f"{name} {i} apples ?", "answer": f"#### {i}", **more} for i in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.jsonl", 9, "train")
    write(tmp_path / "test.jsonl", 4, "test")
    return tmp_path


def questions(choice, split, count=100):
    return [problem.question for problem in choice.of_split(split, count)]


def test_the_default_asks_what_gsm_mini_has():
    choice = TaskChoice()
    assert choice.calibration_problems() == GSM_MINI.problems("calibration", QUESTIONS, 0)
    assert choice.calibration_problems(3) == GSM_MINI.problems("calibration", 3, 0)
    assert TaskChoice(limit=2).calibration_problems() == GSM_MINI.problems("calibration", 2, 0)
    assert len(TaskChoice(limit=120).calibration_problems()) == 120
    assert len(TaskChoice(limit=2).sample(5)) == 5
    denoiser = tiny_denoiser()
    assert choice.asking(denoiser) is denoiser


@pytest.mark.parametrize("task", ["problems", "gsm8k"])
def test_no_problem_of_a_folder_serves_two_ends(folder, task):
    choice = TaskChoice(
        task=task, task_path=str(folder), **({"num_shots": 0} if task == "gsm8k" else {})
    )
    splits = [set(questions(choice, split)) for split in ("calibration", "validation", "test")]
    assert [len(found) for found in splits] == [5, 4, 4]
    assert not (splits[0] & splits[1] or splits[1] & splits[2] or splits[0] & splits[2])


def test_one_file_of_problems_is_dealt_out(tmp_path):
    choice = TaskChoice(task="problems", task_path=str(write(tmp_path / "mine.jsonl", 11, "mine")))
    splits = [questions(choice, split) for split in ("calibration", "validation", "test")]
    assert sorted(chain.from_iterable(splits)) == sorted(f"mine {i} apples ?" for i in range(11))
    assert [len(found) for found in splits] == [5, 2, 4]
    with pytest.raises(UnknownNameError, match="split of problems 'train'"):
        choice.of_split("train", 1)
    few = TaskChoice(task="problems", task_path=str(write(tmp_path / "few.jsonl", 2, "few")))
    with pytest.raises(
        InputError, match=r"few.jsonl holds too few problems to spare any for valid"
    ):
        few.reference_questions()


def test_calibration_of_a_users_own_needs_no_answers(folder, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"question": "now ?"}\n{"question": "more ?", "answer": "#### 3"}\n')
    choice = TaskChoice(task="gsm8k", task_path=str(folder), num_shots=0, calibration=str(own))
    found = choice.calibration_problems()
    assert [problem.answer for problem in found] == ["", "#### 3"]
    assert found[0].question == "Question: now ?\nAnswer:"
    own.write_text('{"answer": "#### 3"}\n')
    with pytest.raises(InputError, match=r'own.jsonl:1: .* "question" is missing'):
        choice.calibration_problems()
    own.write_text("\n")
    with pytest.raises(InputError, match=r"own.jsonl holds no questions"):
        choice.calibration_problems()


@pytest.mark.parametrize("by_chat", [False, True])
@pytest.mark.parametrize("task", ["gsm8k", "problems"])
def test_calibration_reads_what_evaluation_reads(folder, task, by_chat):
    more = {"num_shots": 2} if task == "gsm8k" else {}
    choice = TaskChoice(task=task, task_path=str(folder), apply_chat_template=by_chat, **more)
    denoiser = replace(tiny_denoiser(), chat=CHAT)
    asked = choice.asking(denoiser)
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    found = choice.score(backend, denoiser, "test", 3)
    worded = choice.worded("test", 3)
    assert [tuple(asked.prompt(problem.question)) for problem in worded] == list(found.prompts)
    assert choice.word(questions(choice, "test", 3)) == [problem.question for problem in worded]
    if task == "gsm8k":
        assert worded[0].question.count("Question:") == 3
    plain = replace(denoiser, prompt_template="{question}")
    read = [tuple(plain.prompt(problem.question)) for problem in worded]
    apart = [one == other for one, other in zip(read, found.prompts, strict=True)]
    assert np.all(apart) == (task == "gsm8k" and not by_chat)


def test_a_model_without_a_chat_template_is_not_asked_by_one():
    with pytest.raises(InputError, match="model tiny has no chat template"):
        TaskChoice(apply_chat_template=True).asking(tiny_denoiser())


def test_a_task_of_ones_own_is_a_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mytasks.py").write_text(
        "from hwsearch.tasks import Problem, Task\n"
        "def sums(source):\n"
        "    return Task('sums', lambda split, count, seed: [Problem(split, source)] * count)\n"
        "def nothing(source):\n"
        "    return 3\n"
    )
    choice = TaskChoice(task="mytasks:sums", task_path="here")
    assert choice.calibration_problems(2)[1].answer == "here"
    with pytest.raises(
        InputError, match=r"mytasks:nothing must return a hwsearch.tasks.Task; got int"
    ):
        TaskChoice(task="mytasks:nothing").calibration_problems()
    with pytest.raises(InputError, match="cannot import mytasks:absent: AttributeError"):
        TaskChoice(task="mytasks:absent").calibration_problems()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "gsm9k"}, "unknown task 'gsm9k'; did you mean 'gsm8k'"),
        ({"task": "problems"}, "task problems needs the place of its problems"),
        ({"task": "problems", "task_path": "absent"}, "absent does not exist: give --task-path"),
        ({"num_shots": 2}, "gsm-mini is asked without shots"),
        ({"task_path": "here"}, "gsm-mini generates its problems and reads no path"),
    ],
)
def test_a_task_that_cannot_be_is_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        TaskChoice(**settings).calibration_problems()


def test_a_setting_that_is_none_is_named():
    with pytest.raises(UnknownNameError, match="unknown setting 'tasks'; did you mean 'task'"):
        TaskChoice(tasks="gsm8k")
    with pytest.raises(InputError, match=r"limit: .*greater than or equal to 1, got 0"):
        TaskChoice(limit=0)


@pytest.mark.parametrize(
    ("said", "asked"), [(None, [1, 16]), ("9", [1, 9]), ("4", [1, 4]), ("1", [1, 4])]
)
def test_a_quick_look_asks_fewer_but_enough_to_judge_by(monkeypatch, said, asked):
    monkeypatch.delenv("HWSEARCH_QUESTIONS", raising=False)
    if said is not None:
        monkeypatch.setenv("HWSEARCH_QUESTIONS", said)
    assert [at_quick_look(1), at_quick_look(16)] == asked
    assert len(TaskChoice().reference_questions()) == asked[1]
