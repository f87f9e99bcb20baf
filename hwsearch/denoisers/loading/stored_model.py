"""What a model's files say, as one value, whichever kind of files they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor

from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.model_config import ModelConfig
from hwsearch.errors import CheckpointError


class ReadTensors(Protocol):
    """Reads a model's tensors."""

    def __call__(
        self, wanted: Mapping[str, torch.Size], dtype: torch.dtype | None, device: torch.device
    ) -> dict[str, Tensor]:
        """Tensors by the transformer's names; of a tied embedding and head one may be left out.

        Args:
            wanted: names that the transformer has, with shapes.
            dtype: of the tensors returned; None leaves floats as they are stored, where they can stay in
                the file's own memory.
            device: of the tensors returned.

        Raises:
            CheckpointError: the files are damaged, or are not this model's.
        """


@dataclass(frozen=True)
class StoredModel:
    """A model that has been found; its weights are read when they are asked for.

    Attributes:
        path: its folder, or its file where all is in one.
        config: its sizes and how it is decoded.
        tokenizer: text to tokens and back.
        end_token_ids: tokens that end an answer, the one that fills what follows first.
        mask_token_id: the token for "not written yet"; None where no file names one.
        chat: its chat template; None where it has none.
        read_tensors: reads the weights.
    """

    path: Path
    config: ModelConfig
    tokenizer: Tokenizer
    end_token_ids: tuple[int, ...]
    mask_token_id: int | None
    chat: ChatTemplate | None
    read_tensors: ReadTensors


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig, where: object) -> None:
    """See that a model has a row for each token but those that were added, which nothing may use.

    Raises:
        CheckpointError: it has not.
    """
    largest = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    if largest >= config.geometry.vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has token {largest}, "
            f"but the config's vocabulary ends at {config.geometry.vocab_size - 1}"
        )
