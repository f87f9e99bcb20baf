"""A GGUF file as a model: its header, the tokenizer in it or beside it, and its tensors when asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.gguf.config import ARCHITECTURES, gguf_config
from hwsearch.denoisers.loading.gguf.header import GgufHeader, read_header
from hwsearch.denoisers.loading.gguf.tensors import read_gguf_tensors
from hwsearch.denoisers.loading.gguf.tokenizer import gguf_tokenizer
from hwsearch.denoisers.loading.gguf.vocabulary import special_texts
from hwsearch.denoisers.loading.special_tokens import TOKENIZER
from hwsearch.denoisers.loading.stored_model import StoredModel, check_vocabulary
from hwsearch.denoisers.loading.token_roles import end_tokens
from hwsearch.denoisers.loading.tokenizer import read_tokenizer

TEMPLATE = "tokenizer.chat_template"


def read_gguf_model(path: Path) -> StoredModel:
    """The model of a GGUF file.

    Raises:
        CheckpointError: the file is damaged, or holds what is not supported.
    """
    header = read_header(path)
    config = gguf_config(header)
    tokenizer = _tokenizer(header)
    check_vocabulary(tokenizer, config, path)
    return StoredModel(
        path=path,
        config=config,
        tokenizer=tokenizer,
        end_token_ids=end_tokens(config.end_token_ids, config.where, config, tokenizer),
        mask_token_id=config.mask_token_id,
        chat=_chat_template(header, tokenizer),
        read_tensors=partial(
            read_gguf_tensors, header, config.geometry, ARCHITECTURES[config.family].paired
        ),
    )


def _tokenizer(header: GgufHeader) -> Tokenizer:
    """That of a ``tokenizer.json`` beside the file, which says more than a GGUF file can, or its own."""
    folder = header.path.parent
    return read_tokenizer(folder) if (folder / TOKENIZER).is_file() else gguf_tokenizer(header)


def _chat_template(header: GgufHeader, tokenizer: Tokenizer) -> ChatTemplate | None:
    source = header.metadata.get(TEMPLATE)
    if source is None:
        return None
    if not isinstance(source, str):
        raise header.metadata.error(f"{TEMPLATE} must be text, got {source!r}")
    return ChatTemplate(source, special_texts(header, tokenizer), f"{header.path}: {TEMPLATE}")
