"""Reading a model's tokenizer, without running code that comes with it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from hwsearch.errors import CheckpointError


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder.

    ``tokenizer.json`` is read as it is. Where there is only ``vocab.json`` and ``merges.txt``, as
    Dream has it, they are read as Qwen2's, which takes transformers.

    Raises:
        CheckpointError: there is neither, or the files are damaged.
    """
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            return Tokenizer.from_file(str(path))
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return _qwen2(folder)
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"{folder}: cannot read the tokenizer ({error})") from error
    raise CheckpointError(f"{folder} has no tokenizer: tokenizer.json is missing")


def _qwen2(folder: Path) -> Tokenizer:
    try:
        from transformers import Qwen2Tokenizer
    except ImportError as error:
        raise CheckpointError(
            f"{folder} has vocab.json and merges.txt but no tokenizer.json, and reading those "
            'needs transformers: pip install "hwsearch[hub]"'
        ) from error
    tokenizer = Qwen2Tokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return tokenizer.backend_tokenizer
