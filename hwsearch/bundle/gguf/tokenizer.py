"""A tokenizer in the keys of a GGUF file, where they can tell it.

They name one of some ways to split a text, and leave the rest to llama.cpp. Which of them a tokenizer is, is
found out: each is written, read back as `hwsearch.denoisers.loading.gguf` reads it, and has to split texts of
all kinds into the same pieces and the same tokens. Tokens alone would not tell: no merge crosses a border of
the tokenizer's own, so a way that splits less gives the same ones nearly always.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hwsearch.bundle.gguf.metadata import Value
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.gguf.byte_level import SPLITTINGS
from hwsearch.denoisers.loading.gguf.header import GgufHeader
from hwsearch.denoisers.loading.gguf.tokenizer import gguf_tokenizer
from hwsearch.denoisers.loading.gguf.vocabulary import TokenKind
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.errors import CheckpointError

_PREFIX = "tokenizer.ggml."

#: Texts that tell ways to split apart.
TEXTS = (
    "Tom has 3 apples and buys 1234567 more; how many apples has he now?",
    "It's we'll I'D they'RE 'quoted' don't  two   spaces\n\nnew\r\nlines\t\ttabs ",
    " leading, trailing.  \n",
    "x = foo_bar(1.5e-3) // 100%; $5 + <<3*4=12>>12 #### 7",
    "Größe naïve cafe\u0301 Ω≈ç √∫ 中文字符 日本語テキスト 한국어 עברית العربية",
    "emoji \U0001f600\U0001f468\u200d\U0001f469 and \u00a0 spaces \u2003wide",
    "12 345 6789 01 \u0661\u0662\u0663 Ⅷ ½",
)


def tokenizer_fields(denoiser: Denoiser) -> dict[str, Value]:
    """Keys of a model's tokenizer; ``none`` for its kind where a GGUF file cannot tell it."""
    made = denoiser.tokenizer
    told: dict[str, Any] = json.loads(made.to_str())
    roles = _roles(denoiser, made, told)
    if told["model"].get("type") == "BPE":
        texts, kinds = _tokens(denoiser.geometry.vocab_size, told)
        shared = roles | {f"{_PREFIX}tokens": texts, f"{_PREFIX}token_type": kinds}
        for rest in _candidates(told, texts):
            fields = shared | rest
            if _reads_alike(fields, made):
                return fields
    return roles | {f"{_PREFIX}model": "none"}


def is_told(fields: Mapping[str, Value]) -> bool:
    """Whether keys tell a tokenizer."""
    return fields[f"{_PREFIX}model"] != "none"


def _tokens(rows: int, told: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Texts and kinds of all rows of the embedding; those without a token are unused."""
    texts = [f"[unused{index}]" for index in range(rows)]
    kinds = [int(TokenKind.UNUSED)] * rows
    for text, index in told["model"]["vocab"].items():
        if index < rows:
            texts[index], kinds[index] = text, int(_kind(text, told["model"]))
    for added in told.get("added_tokens", ()):
        if added["id"] < rows:
            special = TokenKind.CONTROL if added["special"] else TokenKind.USER_DEFINED
            texts[added["id"]], kinds[added["id"]] = added["content"], int(special)
    return texts, kinds


def _kind(text: str, model: Mapping[str, Any]) -> TokenKind:
    if not model.get("byte_fallback"):
        return TokenKind.NORMAL
    if text == model.get("unk_token"):
        return TokenKind.UNKNOWN
    is_byte = text.startswith("<0x") and len(text) == len("<0x00>")
    return TokenKind.BYTE if is_byte else TokenKind.NORMAL


def _roles(denoiser: Denoiser, made: Tokenizer, told: Mapping[str, Any]) -> dict[str, Value]:
    """Tokens with a role, and whether each text begins or ends with one."""
    plain, framed = (made.encode("a", add_special_tokens=own).ids for own in (False, True))
    begins, ends = framed[:1] != plain[:1], framed[-1:] != plain[-1:]
    others = sorted(denoiser.end_token_ids - {denoiser.end_token_id})
    roles = {"eos": framed[-1] if ends else denoiser.end_token_id}
    roles |= dict(zip(("eot", "eom"), others, strict=False))
    if begins:
        roles["bos"] = framed[0]
    unknown = told["model"].get("unk_token")
    if unknown is not None:
        roles["unknown"] = told["model"]["vocab"][unknown]
    found: dict[str, Value] = {f"{_PREFIX}{name}_token_id": roles[name] for name in roles}
    found |= {f"{_PREFIX}add_bos_token": begins, f"{_PREFIX}add_eos_token": ends}
    if denoiser.chat is not None:
        found["tokenizer.chat_template"] = denoiser.chat.source
    return found


def _candidates(told: Mapping[str, Any], texts: list[str]) -> Iterator[dict[str, Value]]:
    """What may have to be said beside tokens."""
    pairs = told["model"]["merges"]
    merges = [one if isinstance(one, list) else one.split(" ", 1) for one in pairs]
    if told["model"].get("byte_fallback"):
        pieces: dict[str, Value] = {f"{_PREFIX}model": "llama"}
        pieces[f"{_PREFIX}scores"] = _scores(texts, merges)
        for spaced in (True, False):
            yield pieces | {f"{_PREFIX}add_space_prefix": spaced}
        return
    joined = [" ".join(pair) for pair in merges]
    for name in SPLITTINGS:
        kind: dict[str, Value] = {f"{_PREFIX}model": "gpt2", f"{_PREFIX}pre": name}
        yield kind | {f"{_PREFIX}merges": joined}


def _scores(texts: list[str], merges: list[list[str]]) -> list[float]:
    """The better, the earlier a token is merged."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(text, len(merges))) for text in texts]


def _reads_alike(fields: Mapping[str, Value], made: Tokenizer) -> bool:
    """Whether keys are read as a tokenizer that gives the same tokens."""
    try:
        again = gguf_tokenizer(GgufHeader(Path("it"), Fields(dict(fields), "it"), {}))
    except CheckpointError:
        return False
    return all(
        made.encode(text).ids == again.encode(text).ids
        and _pieces(made, text) == _pieces(again, text)
        for text in TEXTS
    )


def _pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """What merges are kept within."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text]
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
