"""The tensors of a GGUF file, under the transformer's names and as the numbers that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.checkpoint import HEAD, check_tensors
from hwsearch.denoisers.loading.gguf.header import GGUF_FILE, GgufHeader, StoredTensor
from hwsearch.errors import CheckpointError
from hwsearch.files.arrays import map_bytes
from hwsearch.progress import each

_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NAME = re.compile(r"(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)")

#: Numbers that are dequantised at a time: what lies beside a tensor in memory, 64 MB in float32.
_AT_A_TIME = 2**24


def gguf_name(name: str) -> str:
    """A GGUF file's name of a tensor of the transformer.

    >>> gguf_name("model.layers.3.mlp.down_proj.weight")
    'blk.3.ffn_down.weight'
    """
    match = _NAME.fullmatch(name)
    assert match, name
    layer, part, kind = match.groups()
    return f"{_OUTSIDE[part]}.{kind}" if layer is None else f"blk.{layer}.{_LAYER[part]}.{kind}"


def read_gguf_tensors(
    header: GgufHeader,
    geometry: Geometry,
    paired: bool,
    wanted: Mapping[str, torch.Size],
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, Tensor]:
    """All tensors of a GGUF file, dequantised one at a time from the memory-mapped file.

    Args:
        header: the file's.
        geometry: sizes of the model; a tied one stores no head.
        paired: whether rows of q and k lie in pairs; see `unpaired`.
        wanted: shapes by the transformer's names.
        dtype: of the tensors returned.
        device: of the tensors returned.

    Raises:
        CheckpointError: a tensor is missing, too much, of another shape or of a type that is not read, the
            file is cut off, or the package ``gguf`` is missing.
    """
    package = _package(header)
    names = {
        name: gguf_name(name) for name in wanted if not (geometry.tie_embeddings and name == HEAD)
    }
    stored = {name: tensor.shape for name, tensor in header.tensors.items()}
    check_tensors(stored, {names[name]: wanted[name] for name in names}, header.path)
    data = map_bytes(header.path, GGUF_FILE)
    for tensor in header.tensors.values():
        _check_stored(package, header, tensor, len(data))
    heads = {"attn_q": geometry.num_heads, "attn_k": geometry.num_kv_heads} if paired else {}
    tensors = {}
    for name, there in each(names.items(), "reading weights", len(names)):
        rows = _dequantised(package, data, header.tensors[there], dtype)
        count = heads.get(there.split(".")[-2])
        tensors[name] = (rows if count is None else unpaired(rows, count)).to(device)
    return tensors


def unpaired(rows: Tensor, heads: int) -> Tensor:
    """Rows ``[out, ...]`` of q or k as the transformer rotates them, from those of a GGUF file.

    llama.cpp rotates neighbours, rows 2i and 2i + 1 of a head, where the transformer rotates row i of the
    first half with row i of the second. Its converters for Llama and LLaDA reorder rows accordingly.
    """
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _package(header: GgufHeader) -> ModuleType:
    try:
        import gguf
    except ImportError as error:
        raise CheckpointError(
            f"{header.path}: reading the weights of a GGUF file needs the package gguf: "
            'pip install "hwsearch[gguf]"'
        ) from error
    return gguf


def _check_stored(
    package: ModuleType, header: GgufHeader, tensor: StoredTensor, file_bytes: int
) -> None:
    """See that a tensor's type is read and that its bytes are there."""
    where, columns = f"{header.path}: {tensor.name}", tensor.shape[-1]
    try:
        kind = package.GGMLQuantizationType(tensor.kind)
        block, size = package.GGML_QUANT_SIZES[kind]
        package.dequantize(np.zeros((1, size), np.uint8), kind)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise CheckpointError(
            f"{where} is stored as {_kind_name(package, tensor.kind)}, which gguf {_version()} does not "
            "dequantise; give the model in another type, such as Q8_0 or F16"
        ) from error
    if columns % block:
        raise CheckpointError(
            f"{where} is damaged: rows of {columns} numbers are no whole blocks of {block} ({kind.name})"
        )
    end = tensor.offset + prod(tensor.shape) // block * size
    if end > file_bytes:
        raise CheckpointError(
            f"{where} ends at byte {end}, but the file is cut off at {file_bytes}"
        )


def _kind_name(package: ModuleType, kind: int) -> str:
    known = {member.value: member.name for member in package.GGMLQuantizationType}
    return known.get(kind, f"type {kind}")


def _version() -> str:
    from importlib.metadata import version

    return version("gguf")


def _dequantised(
    package: ModuleType, data: np.ndarray[Any, Any], tensor: StoredTensor, dtype: torch.dtype
) -> Tensor:
    """A tensor in its shape; what lies in memory beside it is some of its rows."""
    kind = package.GGMLQuantizationType(tensor.kind)
    block, size = package.GGML_QUANT_SIZES[kind]
    columns = tensor.shape[-1]
    rows, width = prod(tensor.shape[:-1]), columns // block * size
    stored = data[tensor.offset : tensor.offset + rows * width].reshape(rows, width)
    found = torch.empty(rows, columns, dtype=dtype)
    step = max(1, _AT_A_TIME // columns)
    for first in range(0, rows, step):
        part = package.dequantize(stored[first : first + step], kind)
        # floats come as they lie in the file, which torch takes for writable
        found[first : first + step] = torch.from_numpy(np.require(part, requirements=["W", "A"]))
    return found.reshape(tensor.shape)
