"""Chat templates of instruct models: messages to the text that the model was tuned to answer after.

A template comes with a model's tokenizer and is rendered in jinja's sandbox, with what the Hugging
Face convention offers to templates: ``messages``, ``add_generation_prompt``, the special tokens
and ``raise_exception``. No other code of the model is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hwsearch.errors import CheckpointError

#: Special tokens that templates may name.
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class ChatTemplate:
    """A model's chat template.

    Attributes:
        source: the jinja text.
        tokens: texts of special tokens, by the name a template uses.
        where: the file, for error messages.
    """

    source: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    where: str = "chat template"

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Text of a conversation, up to where the model answers.

        >>> template = ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
        >>> template.render([{"role": "user", "content": "hi"}])
        '<user>hi'

        Args:
            messages: each with a ``role`` and a ``content``.
            add_generation_prompt: begin the model's turn.

        Raises:
            CheckpointError: the template is malformed or refuses the messages.
        """
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = _to_json
        try:
            return environment.from_string(self.source).render(
                messages=list(messages),
                add_generation_prompt=add_generation_prompt,
                **self.tokens,
            )
        except TemplateError as error:
            raise CheckpointError(f"{self.where}: {error}") from error

    def ask(self, text: str) -> str:
        """Text of a conversation in which a user says `text` and the model is to answer."""
        return self.render([{"role": "user", "content": text}])


def read_chat_template(folder: Path) -> ChatTemplate | None:
    """The chat template of a model folder; None where it has none.

    ``chat_template.jinja`` counts before the field of ``tokenizer_config.json``; of several named
    templates the one called ``default`` is taken.

    Raises:
        CheckpointError: a file is malformed.
    """
    config_path = folder / "tokenizer_config.json"
    config = _read(config_path) if config_path.is_file() else {}
    tokens = {name: _text(config[name]) for name in SPECIAL if config.get(name)}
    path = folder / "chat_template.jinja"
    if path.is_file():
        return ChatTemplate(path.read_text(encoding="utf-8"), tokens, str(path))
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source}
        source = named.get("default")
    if source is None:
        return None
    if not isinstance(source, str):
        raise CheckpointError(f"{config_path}: chat_template must be text, got {source!r}")
    return ChatTemplate(source, tokens, str(config_path))


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(record).__name__}")
    return record


def _text(token: Any) -> str:
    """A special token is a text, or an object that holds it as ``content``."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
