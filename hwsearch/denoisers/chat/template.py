"""Chat templates of instruct models: messages to the text that the model was tuned to answer after.

A template comes with a model's tokenizer and is rendered in jinja's sandbox, in the environment
that transformers gives it (`hwsearch.denoisers.chat.environment`). No other code of the model is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.special_tokens import SETTINGS, SpecialTokens, read_special_tokens
from hwsearch.errors import CheckpointError
from hwsearch.files import FileKind, read_text
from hwsearch.files.kinds import MIB

#: The template that counts where it is there, and the folder of those with names.
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"

#: The file of a template.
TEMPLATE_FILE = FileKind("chat template", MIB, CheckpointError, "fetch the model again")

#: Names under which a message may tell its reasoning; templates read the first, some the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")


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
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """Text of a conversation, up to where the model answers.

        >>> template = ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
        >>> template.render([{"role": "user", "content": "hi"}])
        '<user>hi'

        Args:
            messages: each with a ``role`` and a ``content``; fields that are None are left out.
            add_generation_prompt: begin the model's turn.

        Raises:
            CheckpointError: the template is malformed, fails, or refuses the messages.
        """
        from hwsearch.denoisers.chat.bounds import bounded_text, counted_steps
        from hwsearch.denoisers.chat.environment import compiled

        if not messages:
            raise CheckpointError(f"{self.where}: a conversation needs at least one message, got 0")
        given = {
            "messages": [_message(message) for message in messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            template = compiled(self.source)
            with counted_steps():
                return bounded_text(template.generate({**self.tokens, **given}))
        except Exception as error:  # a template's code can fail in any way that Python's can
            raise CheckpointError(f"{self.where}: {_reason(error)}") from error

    def ask(self, text: str) -> str:
        """Text of a conversation in which a user says `text` and the model is to answer."""
        return self.render([{"role": "user", "content": text}])


def read_chat_template(folder: Path, special: SpecialTokens | None = None) -> ChatTemplate | None:
    """The chat template of a model folder; None where it has none.

    ``chat_template.jinja`` and the files of ``additional_chat_templates`` count before the field of
    ``tokenizer_config.json``; of several named templates the one called ``default`` is taken.

    Args:
        folder: the model's.
        special: the tokens that its files name, where they have been read.

    Raises:
        CheckpointError: a file is malformed.
    """
    settings = Fields.read_if_there(folder / SETTINGS)
    files = _template_files(folder)
    if set(files) == {"default"}:
        source, where = files["default"], str(folder / TEMPLATE)
    elif files:
        source, where = _default(files), str(folder / MORE_TEMPLATES)
    else:
        source, where = settings.get("chat_template"), settings.where
        if isinstance(source, list | dict):
            source = _default(_by_name(source, settings))
    if source is None:
        return None
    if not isinstance(source, str):
        raise CheckpointError(f"{where}: chat_template must be text, got {source!r}")
    special = special or read_special_tokens(folder)
    return ChatTemplate(source, special.texts(), where)


def _template_files(folder: Path) -> dict[str, str]:
    """Templates that are files, by name."""
    paths = {path.stem: path for path in sorted((folder / MORE_TEMPLATES).glob("*.jinja"))}
    if (folder / TEMPLATE).exists() or (folder / TEMPLATE).is_symlink():
        # a file of that name in the folder would be read after it
        paths.setdefault("default", folder / TEMPLATE)
    return {name: _text(path) for name, path in paths.items()}


def _text(path: Path) -> str:
    return read_text(path, TEMPLATE_FILE)


def _by_name(source: list[Any] | dict[str, Any], settings: Fields) -> dict[str, Any]:
    """Templates of a ``tokenizer_config.json`` by name, given as a list or as an object."""
    if isinstance(source, dict):
        return source
    for entry in source:
        if not isinstance(entry, dict) or not {"name", "template"} <= entry.keys():
            raise settings.error(
                f"chat_template must list objects with a name and a template, got {entry!r}"
            )
    return {str(entry["name"]): entry["template"] for entry in source}


def _default(named: Mapping[str, Any]) -> Any:
    """The template called ``default``, or one that says that there is none.

    A model without it can be asked plainly, so it is an error no earlier than a template is needed.
    """
    names = ", ".join(sorted(named)) or "none"
    reason = f"no chat template is called default; there are: {names}"
    return named.get("default", f"{{{{ raise_exception({reason!r}) }}}}")


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as templates expect it: no empty fields, its reasoning under each usual name."""
    given = {key: value for key, value in message.items() if value is not None}
    reasoning = next((given[key] for key in _REASONING if key in given), None)
    if reasoning is None:
        return given
    return {"thinking": reasoning, **given, "reasoning_content": reasoning}


def _reason(error: Exception) -> str:
    """One line that says what a template failed of."""
    from jinja2 import TemplateError, TemplateSyntaxError

    told = error.message if isinstance(error, TemplateError) else str(error)
    text = " ".join(str(told).split()) or "no reason given"
    if isinstance(error, TemplateSyntaxError):
        return f"line {error.lineno} of the chat template: {text}"
    if type(error) is TemplateError:  # its own refusal
        return text
    return f"the chat template failed with {type(error).__name__}: {text}"
