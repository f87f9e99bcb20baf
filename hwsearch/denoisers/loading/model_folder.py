"""A model folder in Hugging Face layout, read file by file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.chat.template import read_chat_template
from hwsearch.denoisers.loading.checkpoint import (
    EMBEDDING,
    HEAD,
    read_tensors,
    stored_counts,
    weight_files,
)
from hwsearch.denoisers.loading.config import parse_config
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.model_config import ModelConfig
from hwsearch.denoisers.loading.special_tokens import read_special_tokens
from hwsearch.denoisers.loading.stored_model import StoredModel, check_vocabulary
from hwsearch.denoisers.loading.token_roles import read_end_tokens, read_mask_token
from hwsearch.denoisers.loading.tokenizer import read_tokenizer
from hwsearch.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def read_model_folder(folder: Path) -> StoredModel:
    """The model of a folder.

    Raises:
        CheckpointError: a file is missing, malformed or of an unsupported kind.
    """
    config = parse_config(Fields.read(folder / "config.json"))
    special = read_special_tokens(folder)
    tokenizer = read_tokenizer(folder, special)
    check_vocabulary(tokenizer, config, folder)
    return StoredModel(
        path=folder,
        config=config,
        tokenizer=tokenizer,
        end_token_ids=read_end_tokens(folder, config, tokenizer, special),
        mask_token_id=read_mask_token(folder, config, tokenizer, special),
        chat=read_chat_template(folder, special),
        read_tensors=partial(_read_tensors, folder, config),
    )


def _read_tensors(
    folder: Path,
    config: ModelConfig,
    wanted: Mapping[str, torch.Size],
    dtype: torch.dtype | None,
    device: torch.device,
) -> dict[str, Tensor]:
    if config.quantisation is not None:
        raise CheckpointError(
            f"{config.where}: weights quantised already ({config.quantisation}) are not read; "
            "give the checkpoint that they were quantised from, in float32, bfloat16 or float16"
        )
    files = weight_files(folder, config.weights)
    return read_tensors(files, config.family, wanted, dtype, device)


def holds_what_it_says(folder: Path, config: ModelConfig) -> bool:
    """Whether the headers of a folder's weights hold as many numbers as its config implies.

    No weight is read. False where only reading them can tell: what is wrong, or whether an embedding and
    a head that are both stored are one.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    if config.quantisation is not None:
        return False
    counts = stored_counts(weight_files(folder, config.weights), config.family)
    ends = [name for name in counts or () if name.endswith((HEAD, EMBEDDING))]
    if counts is None or (config.geometry.tie_embeddings and len(ends) > 1):
        return False
    return sum(counts.values()) == parameters(config.geometry).total
