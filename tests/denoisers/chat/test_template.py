import json

import pytest

from hwsearch.denoisers.chat.template import ChatTemplate, read_chat_template
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import CheckpointError
from tests.denoisers.checkpoints import stock_config, stock_model, write

CHATML = (
    "{%- if messages[0].role == 'assistant' %}{{ raise_exception('a user speaks first') }}{% endif %}"
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONFIG = {"chat_template": CHATML, "eos_token": {"content": "<end>"}, "bos_token": None}


def store(folder, config):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_a_template_renders_as_transformers_renders_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    from hwsearch.testing.tiny import tiny_tokenizer

    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "how many ?"},
    ]
    stock = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(), eos_token="<end>", chat_template=CHATML
    )
    ours = read_chat_template(store(tmp_path, CONFIG))
    for begin in (True, False):
        theirs = stock.apply_chat_template(messages, tokenize=False, add_generation_prompt=begin)
        assert ours.render(messages, begin) == theirs


def test_the_default_of_several_templates_and_the_jinja_file_count(tmp_path):
    named = [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]
    assert read_chat_template(store(tmp_path, {"chat_template": named})).source == "d"
    (tmp_path / "chat_template.jinja").write_text("j")
    assert read_chat_template(tmp_path).source == "j"


def test_a_base_model_has_none(tmp_path):
    assert read_chat_template(tmp_path) is None
    assert read_chat_template(store(tmp_path, {"eos_token": "x"})) is None


def test_malformed_templates_and_refused_messages_name_the_file(tmp_path):
    template = read_chat_template(store(tmp_path, CONFIG))
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: a user speaks first"):
        template.render([{"role": "assistant", "content": "hi"}])
    with pytest.raises(CheckpointError, match="chat template: "):
        ChatTemplate("{% for %}").ask("hi")
    with pytest.raises(CheckpointError, match="must be text, got 3"):
        read_chat_template(store(tmp_path, {"chat_template": 3}))


def test_templates_cannot_reach_python():
    escape = ChatTemplate("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(CheckpointError):
        escape.ask("hi")


def test_a_loaded_instruct_model_carries_its_template(tmp_path):
    model = stock_model("Llama")
    folder = write(tmp_path / "m", stock_config("llama"), dict(model.state_dict()))
    assert load_denoiser(folder).chat is None
    assert load_denoiser(store(folder, CONFIG)).chat.ask("4 ?") == "<|user|>4 ?<end><|assistant|>"
