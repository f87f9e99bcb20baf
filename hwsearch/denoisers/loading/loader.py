"""Loading a denoiser from a bundled name, a folder, a GGUF file or a hub id, without running its code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hwsearch.denoisers.caching.digest import stays_at
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_weights
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.large.memory import keeps_stored
from hwsearch.denoisers.large.stored_weights import as_stored
from hwsearch.denoisers.loading.checkpoint import check_tensors, tie
from hwsearch.denoisers.loading.gguf.model import read_gguf_model
from hwsearch.denoisers.loading.model_config import autoregressive
from hwsearch.denoisers.loading.model_files import find_folder, find_gguf
from hwsearch.denoisers.loading.model_folder import read_model_folder
from hwsearch.denoisers.loading.stored_model import StoredModel
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError, UnknownNameError

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
    memory: int | None = None,
) -> Denoiser:
    """Load a masked-diffusion model from safetensors or GGUF.

    To ask or decode it otherwise than its makers do, ``dataclasses.replace`` the fields
    ``prompt_template`` and ``decoding`` of what this returns.

    Args:
        name_or_path: a bundled name, a folder in Hugging Face layout, a GGUF file, or a hub id.
        dtype: one of `DTYPES`.
        device: as torch names it, such as ``cpu`` or ``cuda:0``.
        mask_token_id: needed where none of the model's files names it.
        end_token_id: needed where none of the model's files gives an ``eos_token_id``; the tokens
            that they do give end an answer too.
        memory: bytes that may be held: weights whose copies would take too much of it stay in their files,
            mapped, and become `dtype` a piece at a time. None is half of the machine's memory; it counts on
            the CPU only.
        causal: load an autoregressive model: a causal mask, one token a pass.

    Raises:
        UnknownNameError: no model or dtype goes by that name.
        CheckpointError: the model cannot be loaded; the message names the file, field or tensor.
        InputError: the device cannot be used.
    """
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    target = _device(device)
    stored = find_model(name_or_path)
    config = autoregressive(stored.config) if causal else stored.config
    mask, end = stored.roles(config, mask_token_id, end_token_id)
    denoiser = Denoiser(
        name=str(name_or_path),
        network=_network(stored, config.geometry, DTYPES[dtype], target, memory),
        tokenizer=stored.tokenizer,
        mask_token_id=mask,
        end_token_id=end,
        prompt_template=config.prompt_template,
        decoding=config.decoding,
        chat=stored.chat,
        end_token_ids=frozenset(stored.end_token_ids),
        options=_said(dtype, device, causal, mask_token_id, end_token_id),
    )
    check_weights(denoiser)
    return denoiser


def find_model(name_or_path: str | Path) -> StoredModel:
    """What the files of a model say. Raises as `load_denoiser` does."""
    path = find_gguf(name_or_path)
    return read_model_folder(find_folder(name_or_path)) if path is None else read_gguf_model(path)


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
    stored: StoredModel,
    geometry: Geometry,
    dtype: torch.dtype,
    device: torch.device,
    memory: int | None,
) -> Transformer:
    """The network of some sizes, filled with a model's tensors."""
    wanted = {name: tensor.shape for name, tensor in _empty(geometry).state_dict().items()}
    stays = device.type == "cpu" and keeps_stored(geometry, dtype.itemsize, memory)
    tensors = stored.read_tensors(wanted, None if stays else dtype, device)
    if geometry.tie_embeddings:
        tied = tie(tensors, stored.config.family, stored.path)
        geometry = replace(geometry, tie_embeddings=tied)
    check_tensors({name: tensor.shape for name, tensor in tensors.items()}, wanted, stored.path)
    network = _empty(geometry)
    network.load_state_dict(tensors, assign=True)
    if geometry.tie_embeddings:
        network.lm_head.weight = network.model.embed_tokens.weight
    network = network.eval().requires_grad_(False)
    if not stays:
        return network
    stays_at(network, stored.path)
    return as_stored(network, dtype)


def _empty(geometry: Geometry) -> Transformer:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return Transformer(geometry)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try cpu") from error
    return device
