"""Loading a denoiser from a bundled name, a folder or a hub id, without running its code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from hwsearch.denoisers.chat.template import read_chat_template
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_weights
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.checkpoint import check_tensors, read_tensors, tie, weight_files
from hwsearch.denoisers.loading.config import ModelConfig, autoregressive, read_config
from hwsearch.denoisers.loading.model_files import find_folder
from hwsearch.denoisers.loading.special_tokens import SpecialTokens, read_special_tokens
from hwsearch.denoisers.loading.token_roles import check_token, read_end_tokens, read_mask_token
from hwsearch.denoisers.loading.tokenizer import read_tokenizer
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import CheckpointError, InputError, UnknownNameError

#: Arithmetic a denoiser can be loaded in.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
        mask_token_id: needed where none of the model's files names it.
        end_token_id: needed where none of the model's files gives an ``eos_token_id``; the tokens
            that they do give end an answer too.
        causal: load an autoregressive model: a causal mask, one token a pass.

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
    special = read_special_tokens(folder)
    tokenizer = _fitting_tokenizer(folder, config, special)
    ends = read_end_tokens(folder, config, tokenizer, special)
    end = _token(end_token_id, next(iter(ends), None), "end_token_id", config)
    mask = read_mask_token(folder, config, tokenizer, special)
    if mask is None and config.geometry.causal:
        mask = end  # no position sees what lies to its right, so any token serves
    denoiser = Denoiser(
        name=str(name_or_path),
        network=_network(folder, config, DTYPES[dtype], target),
        tokenizer=tokenizer,
        mask_token_id=_token(mask_token_id, mask, "mask_token_id", config),
        end_token_id=end,
        prompt_template=config.prompt_template,
        decoding=config.decoding,
        chat=read_chat_template(folder, special),
        end_token_ids=frozenset(ends),
        options=_said(dtype, device, causal, mask_token_id, end_token_id),
    )
    check_weights(denoiser)
    return denoiser


def _said(
    dtype: str, device: str, causal: bool, mask: int | None, end: int | None
) -> dict[str, Any]:
    """What a caller said, as `hwsearch.denoisers.loading.options.ModelOptions` names it."""
    said: dict[str, Any] = {} if dtype == "float32" else {"dtype": dtype}
    said |= {} if device == "cpu" else {"torch_device": device}
    said |= {"causal": True} if causal else {}
    tokens = {"mask_token_id": mask, "end_token_id": end}
    return said | {name: token for name, token in tokens.items() if token is not None}


def _network(
    folder: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> Transformer:
    """The network of a config, filled with the folder's tensors."""
    if config.quantisation is not None:
        raise CheckpointError(
            f"{config.where}: weights quantised already ({config.quantisation}) are not read; "
            "give the checkpoint that they were quantised from, in float32, bfloat16 or float16"
        )
    geometry = config.geometry
    wanted = {name: tensor.shape for name, tensor in _empty(geometry).state_dict().items()}
    files = weight_files(folder, config.weights)
    tensors = read_tensors(files, config.family, wanted, dtype, device)
    if geometry.tie_embeddings:
        geometry = replace(geometry, tie_embeddings=tie(tensors, config.family, folder))
    check_tensors(tensors, wanted, folder)
    network = _empty(geometry)
    network.load_state_dict(tensors, assign=True)
    if geometry.tie_embeddings:
        network.lm_head.weight = network.model.embed_tokens.weight
    return network.eval().requires_grad_(False)


def _empty(geometry: Geometry) -> Transformer:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return Transformer(geometry)


def _fitting_tokenizer(folder: Path, config: ModelConfig, special: SpecialTokens) -> Tokenizer:
    """The tokenizer; tokens that were added to it may lie beyond the model's, if nothing uses them."""
    tokenizer = read_tokenizer(folder, special)
    largest = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    if largest >= config.geometry.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has token {largest}, "
            f"but the config's vocabulary ends at {config.geometry.vocab_size - 1}"
        )
    return tokenizer


def _token(given: int | None, stored: int | None, name: str, config: ModelConfig) -> int:
    """A special token: the caller's, else the checkpoint's."""
    token = stored if given is None else given
    field = {"end_token_id": "eos_token_id"}.get(name, name)
    if token is None:
        raise CheckpointError(
            f"{config.where}: {field} is missing; add it there, "
            f"or give {name}= to load_denoiser (LLaDA's mask is 126336, Dream's 151666)"
        )
    check_token(token, name, config.where, config)
    return token


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try cpu") from error
    return device
