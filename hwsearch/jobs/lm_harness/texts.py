"""Texts to tokens as lm-evaluation-harness's own Hugging Face model makes them, and back to stops.

What its class ``HFLM`` does is followed to the letter (``lm_eval/models/huggingface.py``, 0.4.13), so that a
score by ``hwsearch`` and one by ``hf`` are about the same prompts. None of it needs the harness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hwsearch.denoisers.chat.asking import encoded
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.gguf.config import architecture_name
from hwsearch.denoisers.loading.gguf.header import read_header
from hwsearch.denoisers.loading.gguf.vocabulary import special_texts
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.model_files import find_folder, find_gguf
from hwsearch.errors import CheckpointError, InputError

#: Fields of a ``config.json`` that say how many positions there are; the last is LLaDA's.
_LENGTHS = ("n_positions", "max_position_embeddings", "n_ctx", "max_sequence_length")

#: What the harness takes where a model does not say.
DEFAULT_MAX_LENGTH = 2048

#: A tokenizer's length from here on means that there is none.
_NO_LENGTH = 10**9

#: Names of the most tokens to write, the first counting most.
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")

#: Stands at the end of a message that is to be continued; its last space shows what a template trims.
_MARK = "[hwsearch continues here] "


@dataclass(frozen=True)
class HarnessTokens:
    """A tokenizer with what the harness asks of it.

    Attributes:
        tokenizer: of the model.
        end_token_id: ends an answer; stands before a text where no token begins one.
        bos, eos: the tokens that its files say begin and end a text; None where they do not.
        add_bos_token: put `bos` before each text, or put no special token there; None does as the
            tokenizer does itself.
        max_length: most positions of the model; None has no limit.
    """

    tokenizer: Tokenizer
    end_token_id: int
    bos: str | None = None
    eos: str | None = None
    add_bos_token: bool | None = None
    max_length: int | None = None

    @property
    def eot_token_id(self) -> int:
        """The token after a text."""
        return self._id(self.eos, self.end_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that has nothing before it."""
        return self._id(self.bos, self.eot_token_id)

    @property
    def end_text(self) -> str:
        """Text of the token after a text: always a stop."""
        return self._text(self.eot_token_id)

    def encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        """Tokens of a text; no special ones are added to a text that begins with its own."""
        if add_special_tokens is None and self._begins(text, self._text(self.prefix_token_id)):
            add_special_tokens = False
        return self._encoded(text, add_special_tokens)

    def context(self, text: str, gen_length: int) -> list[int]:
        """Tokens of what is to be continued by `gen_length` tokens; the first go where all do not fit.

        Raises:
            InputError: not one token fits.
        """
        tokens = self._encoded(text, False if self._begins(text, self.bos) else None)
        tokens = tokens or [self.prefix_token_id]
        if self.max_length is None:
            return tokens
        if gen_length >= self.max_length:
            raise InputError(
                f"gen_length {gen_length} must be less than the model's {self.max_length} positions; "
                "set a smaller gen_length, or max_length if the model has more, in model_args"
            )
        return tokens[-(self.max_length - gen_length) :]

    def _encoded(self, text: str, add_special_tokens: bool | None) -> list[int]:
        if add_special_tokens is None and self.add_bos_token is not None:
            beginning = [self.prefix_token_id] if self.add_bos_token and self.bos else []
            return beginning + self._encoded(text, False)
        special = add_special_tokens is not False
        return encoded(self.tokenizer, text, add_special_tokens=special)

    def _id(self, token: str | None, default: int) -> int:
        found = None if token is None else self.tokenizer.token_to_id(token)
        return default if found is None else int(found)

    def _text(self, token: int) -> str:
        return str(self.tokenizer.decode([token], skip_special_tokens=False))

    @staticmethod
    def _begins(text: str, beginning: str | None) -> bool:
        return beginning is not None and text.startswith(beginning)


def stated(pretrained: str | Path, tokenizer: Tokenizer) -> tuple[str | None, str | None, int]:
    """The tokens that begin and end a text, and how many positions there are, as a model's files say.

    Args:
        pretrained: a bundled name, a folder, a GGUF file or a hub id.
        tokenizer: the model's.

    Raises:
        CheckpointError: a file is malformed.
    """
    path = find_gguf(pretrained)
    if path is None:
        folder = find_folder(pretrained)
        return *named_tokens(folder), positions(folder)
    header = read_header(path)
    named = special_texts(header, tokenizer)
    length = header.metadata.integer(
        f"{architecture_name(header)}.context_length", DEFAULT_MAX_LENGTH
    )
    return named.get("bos_token"), named.get("eos_token"), length


def named_tokens(folder: Path) -> tuple[str | None, str | None]:
    """The tokens that a model folder says begin and end a text; None where it does not say.

    Raises:
        CheckpointError: ``tokenizer_config.json`` is malformed.
    """
    path = folder / "tokenizer_config.json"
    fields = Fields.read(path) if path.is_file() else Fields({}, str(path))
    found = [fields.get(name) for name in ("bos_token", "eos_token")]
    bos, eos = (token.get("content") if isinstance(token, dict) else token for token in found)
    return bos, eos


def positions(folder: Path) -> int:
    """Most positions of a model, as its folder says; `DEFAULT_MAX_LENGTH` where it does not."""
    config = Fields.read(folder / "config.json")
    for name in _LENGTHS:
        if config.get(name) is not None:
            return config.integer(name)
    path = folder / "tokenizer_config.json"
    length = Fields.read(path).get("model_max_length") if path.is_file() else None
    return int(length) if length is not None and length < _NO_LENGTH else DEFAULT_MAX_LENGTH


def conversation(
    chat: ChatTemplate, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool
) -> str:
    """A conversation by a model's template; without a generation prompt its last message goes on.

    A template that refuses a system message is asked without it.

    Raises:
        CheckpointError: the template refuses the messages, or leaves the last one out.
    """
    try:
        return _rendered(chat, messages, add_generation_prompt)
    except CheckpointError:
        others = [message for message in messages if message["role"] != "system"]
        if len(others) == len(messages):
            raise
        return _rendered(chat, others, add_generation_prompt)


def _rendered(
    chat: ChatTemplate, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool
) -> str:
    if add_generation_prompt:
        return chat.render(messages, True)
    *before, last = messages
    marked = {**last, "content": f"{last['content']}{_MARK}"}
    text = chat.render([*before, marked], False)
    head, mark, tail = text.rpartition(_MARK.rstrip())
    if not mark or last["content"].strip() not in text:
        raise CheckpointError(
            f"{chat.where}: leaves out the message that is to be continued ({last['content']!r}); "
            "run the task without gen_prefix, or without --apply_chat_template"
        )
    # a template that trims a message trims what goes before the mark too
    return head if tail.startswith(" ") else head.rstrip()


def stops_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """A request's ``until``: one text, several or none."""
    until = options.get("until") or ()
    return (until,) if isinstance(until, str) else tuple(until)


def token_limit(options: Mapping[str, Any]) -> int | None:
    """The most tokens that a request wants; None where it does not say."""
    given = (options[name] for name in _LIMITS if options.get(name) is not None)
    limit = next(given, None)
    return None if limit is None else int(limit)
