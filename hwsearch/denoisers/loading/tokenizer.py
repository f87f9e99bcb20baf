"""Reading a model's tokenizer, without running code that comes with it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from hwsearch.denoisers.loading.json_fields import MODEL_JSON, Fields
from hwsearch.denoisers.loading.special_tokens import (
    SETTINGS,
    TOKENIZER,
    SpecialTokens,
    open_tokenizer,
    read_special_tokens,
)
from hwsearch.errors import CheckpointError
from hwsearch.files import check_plain, refused_by

#: Tokenizers of ``vocab.json`` and ``merges.txt`` that are Qwen2's.
_QWEN2 = ("Qwen2Tokenizer", "DreamTokenizer")


def read_tokenizer(folder: Path, special: SpecialTokens | None = None) -> Tokenizer:
    """The tokenizer of a model folder, as transformers reads it.

    ``tokenizer.json`` says how text is split. Tokens that only the files beside it name are added,
    and a truncation or padding that was saved with it is reset: it belongs to whoever saved the
    file, not to the model. Where there is only ``vocab.json`` and ``merges.txt``, as Dream has it,
    they are read as Qwen2's, which takes transformers.

    Args:
        folder: the model's.
        special: the tokens that its files name, where they have been read.

    Raises:
        CheckpointError: there is neither, or the files are damaged or ask for what is not supported.
    """
    settings = Fields.read_if_there(folder / SETTINGS)
    if settings.get("split_special_tokens"):
        raise settings.error(
            "split_special_tokens is not supported: special tokens are kept whole; set it to false"
        )
    path = folder / TOKENIZER
    if path.exists():
        tokenizer = open_tokenizer(path, special or read_special_tokens(folder))
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        for name in ("vocab.json", "merges.txt"):
            check_plain(folder / name, MODEL_JSON)
        with refused_by("transformers", folder, MODEL_JSON):
            tokenizer = _qwen2(folder, settings)
    else:
        raise CheckpointError(f"{folder} has no tokenizer: tokenizer.json is missing")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _qwen2(folder: Path, settings: Fields) -> Tokenizer:
    kind = str(settings.get("tokenizer_class") or _QWEN2[0]).removesuffix("Fast")
    if kind not in _QWEN2:
        raise settings.error(
            f"tokenizer_class {kind!r} without a tokenizer.json is not supported, only "
            f"{' and '.join(_QWEN2)} are; save a tokenizer.json with transformers"
        )
    try:
        from transformers import Qwen2Tokenizer
    except ImportError as error:
        raise CheckpointError(
            f"{folder} has vocab.json and merges.txt but no tokenizer.json, and reading those "
            'needs transformers: pip install "hwsearch[hub]"'
        ) from error
    tokenizer = Qwen2Tokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return tokenizer.backend_tokenizer
