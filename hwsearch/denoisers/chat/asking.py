"""How a question becomes the tokens that a model reads; the same for torch and for bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.special_tokens import TOKENIZER_JSON
from hwsearch.errors import InputError
from hwsearch.files import refused_by

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

#: ``template`` puts a question into the model's own template, ``text`` leaves it as it is, since a task
#: worded it, and ``chat`` makes it a message of a user.
Asks = Literal["template", "text", "chat"]


@dataclass(frozen=True)
class Infilling:
    """A question whose answer stands before a text that is given, too.

    Attributes:
        question: the text before the blank.
        suffix: the text behind it.
    """

    question: str
    suffix: str

    @classmethod
    def of(cls, question: Question) -> Infilling:
        """A question of either kind; behind a plain one there is nothing."""
        return question if isinstance(question, Infilling) else cls(question, "")

    @property
    def shortest(self) -> Question:
        """The plain question where there is nothing behind the blank.

        >>> Infilling("2 + 2 = ", "").shortest
        '2 + 2 = '
        """
        return self if self.suffix else self.question


#: What a model can be asked.
Question = str | Infilling


def prompt_tokens(
    question: str,
    asks: Asks,
    tokenizer: Tokenizer,
    prompt_template: str,
    chat: ChatTemplate | None,
) -> list[int]:
    """Tokens of the prompt that asks `question`.

    Args:
        question: what is asked, worded by a task already where there is one that words.
        asks: how.
        tokenizer: the model's.
        prompt_template: text around ``{question}``.
        chat: the model's chat template, if it has one.

    Raises:
        InputError: it shall be asked by a chat template, and there is none.
        CheckpointError: the chat template refuses the question, or the tokenizer gives up on it.
    """
    if asks == "chat":
        if chat is None:
            raise InputError("the model holds no chat template; ask it without")
        # a template writes its special tokens itself
        return encoded(tokenizer, chat.ask(question), add_special_tokens=False)
    text = question if asks == "text" else worded(prompt_template, question)
    return encoded(tokenizer, text)


def encoded(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = True) -> list[int]:
    """Tokens of a text. Raises as `encoding_of`."""
    return list(encoding_of(tokenizer, text, add_special_tokens=add_special_tokens).ids)


def encoding_of(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = True) -> Encoding:
    """Tokens of a text, and where in it each stands.

    A tokenizer comes with a checkpoint, and its patterns may give up on some texts: a match that is tried
    in too many ways ends in a panic of Rust, which is no Exception.

    Raises:
        CheckpointError: it gives up.
    """
    with refused_by("tokenizers", "the model's tokenizer", TOKENIZER_JSON):
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)


#: Where a template has the question.
QUESTION = "{question}"


#: Longest template, and places of the question in it, that are believed.
MOST_TEMPLATE, MOST_PLACES = 1 << 16, 16


def checked_template(template: object) -> str:
    """A template that has a place for the question.

    Raises:
        ValueError: it is no text, has no place for the question or too many, or is too long.
    """
    if not isinstance(template, str) or QUESTION not in template:
        raise ValueError(f"must be text that holds {QUESTION}, where the question goes")
    if len(template) > MOST_TEMPLATE or template.count(QUESTION) > MOST_PLACES:
        raise ValueError(
            f"must have at most {MOST_TEMPLATE:,} characters and {QUESTION} {MOST_PLACES} times"
        )
    return template


def worded(template: str, question: str) -> str:
    """A template with a question in it.

    A template comes with a checkpoint, so it is text and nothing else: no field is formatted or looked up.

    >>> worded("Q: {question} {0} {{A}}:", "2 + 2 {question}")
    'Q: 2 + 2 {question} {0} {{A}}:'
    """
    return template.replace(QUESTION, question)


def suffix_tokens(text: str, tokenizer: Tokenizer) -> list[int]:
    """Tokens of a text behind a blank: the bare text, in no template. Raises as `encoded`."""
    return encoded(tokenizer, text, add_special_tokens=False) if text else []
