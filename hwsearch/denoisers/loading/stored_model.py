"""What a model's files say, as one value, whichever kind of files they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tokenizers import Tokenizer

from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.model_config import ModelConfig
from hwsearch.denoisers.loading.token_roles import check_token
from hwsearch.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: What is known of masks, for who must say one.
MASKS = " (LLaDA's is 126336, Dream's 151666); an autoregressive model has none: --causal"


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

    def roles(
        self, config: ModelConfig, mask_token_id: int | None, end_token_id: int | None
    ) -> tuple[int, int]:
        """The tokens for "not written yet" and for the end: those that a caller gives, else its own.

        Args:
            config: its own, or that of the same model read from left to right.
            mask_token_id: the caller's, if any.
            end_token_id: likewise.

        Raises:
            CheckpointError: nobody says one, or the model has no row for it.
        """
        end = _token(end_token_id, next(iter(self.end_token_ids), None), "end_token_id", config)
        mask = self.mask_token_id
        if mask is None and config.geometry.causal:
            mask = end  # no position sees what lies to its right, so any token serves
        return _token(mask_token_id, mask, "mask_token_id", config), end


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


def _token(given: int | None, stored: int | None, name: str, config: ModelConfig) -> int:
    """A special token: the caller's, else the checkpoint's."""
    token = stored if given is None else given
    field = {"end_token_id": "eos_token_id"}.get(name, name)
    if token is None:
        raise CheckpointError(
            f"{config.where}: {field} is missing; add it there, or give {name}= to load_denoiser, "
            f"--{name.replace('_', '-')} to a verb{MASKS if name == 'mask_token_id' else ''}"
        )
    check_token(token, name, config.where, config)
    return token
