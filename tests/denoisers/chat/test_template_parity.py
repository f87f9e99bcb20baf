"""Chat templates give what stock transformers gives, over templates that use all of its environment."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime

import pytest

from hwsearch.denoisers.chat.template import read_chat_template
from hwsearch.errors import CheckpointError
from hwsearch.testing.tiny import tiny_tokenizer

transformers = pytest.importorskip("transformers")

TALK = [
    {"role": "system", "content": "be brief & <plain>"},
    {"role": "user", "content": "how many ? é"},
    {"role": "assistant", "content": "4", "name": None, "reasoning": "2 + 2"},
    {"role": "user", "content": " why ? "},
]

#: Templates that render, by what they use.
RENDER = {
    "special tokens": (
        "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ sep_token }}|{{ pad_token }}"
        "|{{ cls_token }}|{{ mask_token }}|{{ image_token }}|{{ additional_special_tokens }}"
    ),
    "unset tokens": "{% if nothing_token is defined %}yes{% else %}no{% endif %}{{ nothing_token }}",
    "tools are none": "{% if tools is none %}none{% endif %}{% if documents is none %}none{% endif %}",
    "tools are passed": "{{ tools is defined }}{{ documents is defined }}{{ xml is defined }}",
    "tools count": "{% if not tools %}0{% else %}{{ tools | length }}{% endif %}",
    "date": "{{ strftime_now('%Y-%m-%d') }}",
    "date guarded": "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}",
    "raise guarded": "{% if raise_exception is defined %}r{% endif %}",
    "tojson": "{{ messages | tojson }}",
    "tojson indent": "{{ messages | tojson(indent=2) }}",
    "tojson ascii": "{{ messages | tojson(ensure_ascii=True, sort_keys=True) }}",
    "tojson separators": "{{ messages | tojson(separators=(',', ':')) }}",
    "tojson none": "{{ tools | tojson }}",
    "loop controls": (
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
        "{% if loop.index == 3 %}{% break %}{% endif %}{% endfor %}"
    ),
    "generation": (
        "{% for m in messages %}{% generation %}{{ m.content }}{% set x = 1 %}{% endgeneration %}"
        "{{ x is defined }}{% endfor %}"
    ),
    "trimmed blocks": (
        "  {% for m in messages %}\n    {% if m.role == 'user' %}\n  {{ m.content }}\n"
        "  {% endif %}\n{% endfor %}\nend\n"
    ),
    "white space signs": "{%- for m in messages -%}\n {{- m.content -}} \n{%- endfor +%}\nend",
    "namespace": (
        "{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
        "{% if m.role == 'user' %}{% set ns.found = true %}{% endif %}{% endfor %}"
        "{{ ns.found }}{{ ns.n }}"
    ),
    "namespace of self": "{% set ns = namespace(self=3) %}{{ ns.self }}",
    "dict": "{{ dict(a=1, b=2) }}{{ dict([('c', 3)]) }}{{ dict.fromkeys(['d'], 4) }}",
    "macro": (
        "{% macro say(m, end='.') %}{{ m.role }}:{{ m.content | trim }}{{ end }}{% endmacro %}"
        "{% for m in messages %}{{ say(m) }}{% endfor %}{{ say(messages[0], end=eos_token) }}"
    ),
    "prompt": "{{ messages[-1].content }}{% if add_generation_prompt %}<a>{% endif %}",
    "no escapes": "{{ messages[0].content }}{{ '<b>' }}",
    "none is left out": "{% for m in messages %}{{ 'name' in m }}{{ m.name is defined }}{% endfor %}",
    "reasoning": (
        "{% for m in messages %}{{ m.reasoning_content }}{{ m.thinking }}{{ m.reasoning }}{% endfor %}"
    ),
    "methods": "{{ messages[0].content.split(' ')[0].upper() }}{{ messages[0].items() | list }}",
    "slices": "{% for m in messages[1:] %}{{ m['role'] | upper | replace('U', 'V') }}{% endfor %}",
    "filters": "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join }}",
    "undefined prints nothing": "[{{ nobody }}{{ messages[0].nothing }}]",
    "range": "{% for i in range(3) %}{{ i }}{% endfor %}{{ lipsum is defined }}{{ cycler is defined }}",
    "inline if": "{{ 'a' if messages | length > 1 else 'b' }}{{ ('c' if false) }}",
    "set block": "{% set t %}x{{ messages[0].role }}{% endset %}{{ t }}{{ t | length }}",
    "comments": "{# a comment #}\n{{ messages[0].role }}",
    "raw": "{% raw %}{{ bos_token }}{% endraw %}",
    "empty": "",
    "newlines": "a\n\nb\n\n",
}

#: Templates that stock transformers fails on.
FAIL = {
    "refusal": ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    "undefined": ("{{ nobody.name }}", "'nobody' is undefined"),
    "undefined call": ("{{ nobody() }}", "'nobody' is undefined"),
    "syntax": ("{% for m in messages %}", "line 1 of the chat template"),
    "unknown tag": ("\n{% stop %}", "line 2 of the chat template"),
    "unknown filter": ("{{ messages | shout }}", "No filter named 'shout'"),
    "sandbox": ("{{ ''.__class__.__mro__ }}", "SecurityError"),
    "sandbox call": ("{{ messages.append(1) }}", "SecurityError"),
    "namespace": ("{% set ns = namespace(__init__=1) %}", "SecurityError"),
    "types": ("{{ 1 + 'a' }}", "TypeError"),
    "zero": ("{{ 1 / 0 }}", "ZeroDivisionError"),
    "index": ("{{ messages[9].role }}", "UndefinedError"),
    "concat": ("{{ 'a' + none }}", "TypeError"),
    "range": ("{{ range(10 ** 9) | list }}", "OverflowError"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    "no json": ("{{ messages[0].items | tojson }}", "TypeError"),
    "no such template": ("{% include 'other' %}", "no loader"),
    "break outside": ("{% break %}", ""),
}

SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<bos>",
    "eos_token": {"__type": "AddedToken", "content": "<eos>", "lstrip": False, "rstrip": False,
                  "single_word": False, "normalized": False, "special": True},
    "mask_token": "<mask>",
    "sep_token": "</s>",
    "cls_token": None,
    "image_token": "<img>",
    "additional_special_tokens": ["<a>", "<b>"],
}  # fmt: skip


def folder_of(path, template, **settings):
    path.mkdir(exist_ok=True)
    tiny_tokenizer().save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    record = {**SETTINGS, "chat_template": template, **settings}
    (path / "tokenizer_config.json").write_text(json.dumps(record))
    return path


def both(folder, messages=TALK, begin=True):
    """What stock transformers renders, and what we do."""
    stock = transformers.AutoTokenizer.from_pretrained(folder)
    wanted = stock.apply_chat_template(messages, tokenize=False, add_generation_prompt=begin)
    return wanted, read_chat_template(folder).render(messages, begin)


@pytest.mark.parametrize("name", RENDER)
def test_a_template_renders_as_in_transformers(tmp_path, name):
    for begin in (True, False):
        wanted, found = both(folder_of(tmp_path / "m", RENDER[name]), begin=begin)
        assert found == wanted


@pytest.mark.parametrize("name", FAIL)
def test_what_fails_there_is_one_line_here(tmp_path, name):
    source, told = FAIL[name]
    folder = folder_of(tmp_path / "m", source)
    stock = transformers.AutoTokenizer.from_pretrained(folder)
    with pytest.raises(Exception):  # noqa: B017 - of whatever kind
        stock.apply_chat_template(TALK, tokenize=False)
    with pytest.raises(CheckpointError) as caught:
        read_chat_template(folder).render(TALK, False)
    message = str(caught.value)
    assert message.startswith(f"{folder}/tokenizer_config.json: ")
    assert told in message
    assert "\n" not in message


NAMED = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d{{ bos_token }}"}]
WHERE = {
    "field": ("f{{ eos_token }}", {}),
    "list": (NAMED, {}),
    "object": ({"rag": "r", "default": "o{{ sep_token }}"}, {}),
    "file before field": ("f", {"chat_template.jinja": "j{{ bos_token }}\n"}),
    "file before list": (NAMED, {"chat_template.jinja": "j"}),
    "file alone": (None, {"chat_template.jinja": "j\r\nk"}),
    "file and more": (
        "f",
        {"chat_template.jinja": "j", "additional_chat_templates/rag.jinja": "r"},
    ),
    "more with a default": ("f", {"additional_chat_templates/default.jinja": "m"}),
    "more over the file": (
        "f",
        {"chat_template.jinja": "j", "additional_chat_templates/default.jinja": "m"},
    ),
    "json is a processor's": ("f", {"chat_template.json": '{"chat_template": "no"}'}),
    "twice in the list": ([*NAMED, {"name": "default", "template": "last"}], {}),
}


@pytest.mark.parametrize("name", WHERE)
def test_the_template_that_counts_is_the_one_there(tmp_path, name):
    field, files = WHERE[name]
    folder = folder_of(tmp_path / "m", field)
    (folder / "additional_chat_templates").mkdir()
    for file, text in files.items():
        (folder / file).write_bytes(text.encode())
    wanted, found = both(folder)
    assert found == wanted


def test_named_templates_without_a_default_are_an_error_when_one_is_needed(tmp_path):
    folder = folder_of(tmp_path / "m", [{"name": "it's", "template": "t"}])
    with pytest.raises(ValueError, match="no default"):
        both(folder)
    with pytest.raises(
        CheckpointError, match=r"no chat template is called default; there are: it's"
    ):
        read_chat_template(folder).ask("hi")


@pytest.mark.parametrize("field", [3, ["t"], [{"name": "default"}], {"default": 3}])
def test_malformed_templates_name_the_file(tmp_path, field):
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: chat_template must"):
        read_chat_template(folder_of(tmp_path / "m", field))


def test_a_template_file_that_is_no_text_is_named(tmp_path):
    folder = folder_of(tmp_path / "m", None)
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja: .*UTF-8"):
        read_chat_template(folder)


def test_no_messages_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="at least one message"):
        read_chat_template(folder_of(tmp_path / "m", "x")).render([])


def test_a_token_saved_as_padding_is_known_to_templates(tmp_path):
    folder = folder_of(tmp_path / "m", "{{ pad_token }}")
    tokenizer = tiny_tokenizer()
    tokenizer.enable_padding(pad_id=3, pad_token="<unk>", length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    wanted, found = both(folder)
    assert found == wanted == "<unk>"


def test_the_date_is_todays(tmp_path):
    template = read_chat_template(folder_of(tmp_path / "m", "{{ strftime_now('%Y') }}"))
    assert template.ask("hi") == str(datetime.now().year)


WITHOUT_TORCH = """
import json, sys
for name in ("torch", "transformers", "safetensors"):
    sys.modules[name] = None
from hwsearch.denoisers.chat.template import ChatTemplate
tokens, messages, sources = json.load(sys.stdin)
print(json.dumps([ChatTemplate(source, tokens).render(messages) for source in sources]))
"""


def test_a_bundle_renders_the_same_without_torch(tmp_path):
    here = [read_chat_template(folder_of(tmp_path / "m", source)) for source in RENDER.values()]
    given = json.dumps([dict(here[0].tokens), TALK, [template.source for template in here]])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        input=given,
        text=True,
        check=True,
        capture_output=True,
    )
    assert json.loads(done.stdout) == [template.render(TALK) for template in here]
