import json

import pytest

from hwsearch.errors import InputError, PlanError
from hwsearch.jobs.evaluation import EvaluationSettings, evaluate_model
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.harness_results import results
from tests.denoisers.checkpoints import stock_config, stock_model, write

CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
DECODING = {"gen_length": 4, "block_length": 4, "steps": 4, "refresh_interval": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = stock_config("llama") | {"hwsearch": {"decoding": DECODING}}
    return write(
        tmp_path_factory.mktemp("model") / "m", config, dict(stock_model("Llama").state_dict())
    )


@pytest.fixture
def lines(tmp_path):
    def write_lines(name, *pairs):
        path = tmp_path / name
        records = [{"question": question, "answer": answer} for question, answer in pairs]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write_lines


def asked(task, path=None, shots=None, **more):
    given = {name: str(at) for name, at in (("task_path", path), ("shots", shots)) if at}
    return EvaluationSettings(TaskChoice(task=task, **given, **more))


def test_given_shots_stand_before_each_question(folder, lines):
    path = lines("test.jsonl", ("tom has 3 apples ?", "#### 3"))
    shots = lines("shots.jsonl", *((f"how many {n} ?", f"The answer is {n}.") for n in range(8)))
    found = evaluate_model(str(folder), asked("gsm8k_cot", path, shots))
    (text,) = found.prompt_texts
    assert text.startswith("Q: how many 0 ?\nA: The answer is 0.\n\nQ: how many 1 ?")
    assert text.endswith("A: The answer is 7.\n\nQ: tom has 3 apples ?\nA:")
    config = results(found, "m")["configs"]["gsm8k_cot"]
    assert config["fewshot_source"] == "given"
    with pytest.raises(InputError, match="gsm-mini is asked without shots"):
        evaluate_model(str(folder), asked("gsm-mini", shots=shots))
    with pytest.raises(InputError, match="8 shots need at least as many problems, got 1"):
        evaluate_model(str(folder), asked("gsm8k_cot", path, path))


def test_a_chat_template_wraps_the_whole_prompt_as_one_message(folder, lines):
    path = lines("test.jsonl", ("tom has 3 apples ?", "#### 3"))
    shots = lines("shots.jsonl", *((f"how many {n} ?", f"#### {n}") for n in range(5)))
    by_chat = asked("gsm8k", path, shots, apply_chat_template=True)
    with pytest.raises(InputError, match="has no chat template"):
        evaluate_model(str(folder), by_chat)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({"chat_template": CHAT}))
    try:
        found = evaluate_model(str(folder), by_chat)
    finally:
        settings.unlink()
    (text,) = found.prompt_texts
    assert text.startswith("<|user|>Question: how many ")
    assert text.endswith("Question: tom has 3 apples ?\nAnswer:<|assistant|>")
    assert results(found, "m")["chat_template"] == CHAT
    plain = evaluate_model(str(folder), asked("gsm8k", path, shots))
    assert results(plain, "m")["chat_template"] is None
    assert plain.prompts != found.prompts


def test_a_model_is_decoded_by_what_is_asked_for(folder):
    commit = {"commit": {"policy": "threshold", "threshold": 1e-9}}
    for decoding, passes in (({}, 4), (commit, 1)):
        settings = EvaluationSettings(limit=1, decoding=decoding)
        found = evaluate_model(str(folder), settings)
        assert sum(found.mean_passes.values()) == passes
        assert results(found, "m")["passes"]["refresh"] == passes
    with pytest.raises(PlanError, match=r"decoding: commit.*less than or equal to 1"):
        bad = {"commit": {"policy": "threshold", "threshold": 2}}
        evaluate_model(str(folder), EvaluationSettings(limit=1, decoding=bad))
