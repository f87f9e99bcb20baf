"""Loading a denoiser from a bundled name, a folder or a hub id, without running its code."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer

from hwsearch.denoisers.catalog import find_folder
from hwsearch.denoisers.chat import read_chat_template
from hwsearch.denoisers.checkpoint import check_tensors, read_tensors
from hwsearch.denoisers.config import ModelConfig, autoregressive, read_config
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.tokenizer import read_tokenizer
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import CheckpointError, InputError, UnknownNameError

#: Arithmetic a denoiser can be loaded in.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"


def load_denoiser(
    name_or_path: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    mask_token_id: int | None = None,
    end_token_id: int | None = None,
    causal: bool = False,
) -> Denoiser:
    """Load a masked-diffusion model from safetensors.

    To ask or decode it otherwise than its makers do, ``dataclasses.replace`` the fields
    ``prompt_template`` and ``decoding`` of what this returns.

    Args:
        name_or_path: a bundled name, a folder in Hugging Face layout, or a hub id.
        dtype: one of `DTYPES`.
        device: as torch names it, such as ``cpu`` or ``cuda:0``.
        mask_token_id: needed where the model's config does not give it.
        end_token_id: needed where the model's config gives no ``eos_token_id``.
        causal: load an autoregressive model, to compare with: a causal mask, one token a pass.

    Raises:
        UnknownNameError: no model or dtype goes by that name.
        CheckpointError: the model cannot be loaded; the message names the file, field or tensor.
        InputError: the device cannot be used.
    """
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    target = _device(device)
    folder = find_folder(name_or_path)
    config = read_config(folder)
    if causal:
        config = autoregressive(config)
    tokens = {
        "mask_token_id": _token(mask_token_id, config.mask_token_id, "mask_token_id", config),
        "end_token_id": _token(end_token_id, config.end_token_id, "end_token_id", config),
    }
    return Denoiser(
        name=str(name_or_path),
        network=_network(folder, config, DTYPES[dtype], target),
        tokenizer=_fitting_tokenizer(folder, config),
        prompt_template=config.prompt_template,
        decoding=config.decoding,
        chat=read_chat_template(folder),
        **tokens,
    )


def _network(
    folder: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> Transformer:
    """The network of a config, filled with the folder's tensors."""
    with torch.device("meta"):
        network = Transformer(config.geometry)
    tensors = read_tensors(folder, config.family, dtype, device)
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if config.geometry.tie_embeddings and EMBEDDING in tensors:
        stored = tensors.setdefault(HEAD, tensors[EMBEDDING])
        if not torch.equal(stored, tensors[EMBEDDING]):
            raise CheckpointError(
                f"{folder}: {HEAD} differs from {EMBEDDING}, but the config ties them; "
                "set tie_word_embeddings to false in config.json if the head is its own"
            )
    check_tensors(tensors, wanted, folder)
    network.load_state_dict(tensors, assign=True)
    if config.geometry.tie_embeddings:
        network.lm_head.weight = network.model.embed_tokens.weight
    return network.eval().requires_grad_(False)


def _fitting_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    tokenizer = read_tokenizer(folder)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= config.geometry.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has token {largest}, "
            f"but the config's vocabulary ends at {config.geometry.vocab_size - 1}"
        )
    return tokenizer


def _token(given: int | None, stored: int | None, name: str, config: ModelConfig) -> int:
    """A special token: the caller's, else the config's."""
    token = stored if given is None else given
    field = {"end_token_id": "eos_token_id"}.get(name, name)
    if token is None:
        raise CheckpointError(
            f"{config.where}: {field} is missing; add it there, "
            f"or give {name}= to load_denoiser (LLaDA's mask is 126336, Dream's 151666)"
        )
    if not 0 <= token < config.geometry.vocab_size:
        raise CheckpointError(
            f"{config.where}: {name} {token} is outside the vocabulary "
            f"0..{config.geometry.vocab_size - 1}"
        )
    return token


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try cpu") from error
    return device
