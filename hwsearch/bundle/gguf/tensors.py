"""The tensors of a GGUF file of a compressed model, a piece at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from hwsearch.bundle.gguf.types import block_bytes, type_of
from hwsearch.bundle.linears import codes_of, float_linear, formats_of, weight_of
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.checkpoint import HEAD
from hwsearch.denoisers.loading.gguf.tensors import gguf_name
from hwsearch.denoisers.transformer import RMSNorm, Transformer
from hwsearch.formats.fp16 import round_half
from hwsearch.formats.linears.stored_linear import outputs_at_once
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pieces = Iterator["NDArray[np.generic]"]

#: Bytes of 32 numbers, by type.
_BYTES = {"F32": 128, "F16": 64, "BF16": 64, "Q8_0": 34, "Q4_0": 18, "Q4_1": 20}


#: llama.cpp's numbers of files by the type of most of their weights.
FILE_TYPES: Final = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "BF16": 32}


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor to be written.

    Attributes:
        name: in the file.
        kind: ggml's name of its type.
        shape: rows first.
        pieces: its bytes, some rows at a time.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    pieces: Callable[[], Pieces]

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return int(np.prod(self.shape)) * _BYTES[self.kind] // 32


def file_type(tensors: Sequence[FileTensor]) -> int:
    """llama.cpp's number (``llama_ftype``) of a file whose weights are mostly of one type."""
    numbers: Counter[str] = Counter()
    for tensor in tensors:
        numbers[tensor.kind] += int(np.prod(tensor.shape))
    return FILE_TYPES[max(numbers, key=numbers.__getitem__)]


def file_tensors(
    compressed: CompressedDenoiser, geometry: Geometry, paired: bool
) -> list[FileTensor]:
    """All tensors of the file, in its order.

    Args:
        compressed: the model, its plan applied.
        geometry: of its layers, which are all alike.
        paired: whether rows of q and k lie as llama.cpp's rotation pairs them.

    Raises:
        PlanError: the type of a format is not known there, or its blocks do not divide a linear.
    """
    network = compressed.float_network
    assert isinstance(network, Transformer)
    formats = formats_of(compressed)
    is_shared = geometry.tie_embeddings and compressed.plan.head is WeightFormat.FP32
    found = [_embedding(network.model.embed_tokens.weight.detach(), is_shared)]
    heads = {"q_proj": geometry.num_heads, "k_proj": geometry.num_kv_heads} if paired else {}
    for path, fmt in formats.items():
        if path + ".weight" == HEAD and is_shared:
            continue
        order = _order(weight_of(compressed, path).shape[0], heads.get(path.split(".")[-1]))
        found.append(_matrix(compressed, path, fmt, order))
        bias = float_linear(compressed, path).bias
        if bias is not None:
            found.append(_float(f"{path}.bias", bias.detach()[order]))
    for name, module in network.named_modules():
        if isinstance(module, RMSNorm):
            found.append(_float(f"{name}.weight", module.weight.detach()))
    return found


def _order(rows: int, heads: int | None) -> Tensor:
    """Rows in the order of the file: `hwsearch.denoisers.loading.gguf.tensors.unpaired` undoes it."""
    order = torch.arange(rows)
    if heads is None:
        return order
    return order.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten()


def _matrix(
    compressed: CompressedDenoiser, path: str, fmt: WeightFormat, order: Tensor
) -> FileTensor:
    weight = weight_of(compressed, path)
    inputs = weight.shape[1]
    kind = type_of(fmt, inputs, path)

    def pieces() -> Pieces:
        if kind not in ("F32", "F16"):
            codes = codes_of(compressed, path, fmt)
            rows = np.concatenate([block_bytes(fmt, piece, inputs) for piece in codes])
            yield rows[order.numpy()]
            return
        for start, stop in outputs_at_once(*weight.shape):
            exact = weight[order[start:stop].to(weight.device)].float().cpu()
            yield (exact if kind == "F32" else round_half(exact).half()).numpy()

    return FileTensor(gguf_name(f"{path}.weight"), kind, tuple(weight.shape), pieces)


def _float(name: str, values: Tensor) -> FileTensor:
    """Norms and biases, which llama.cpp wants as 32-bit floats."""
    exact = values.float().cpu().numpy()
    return FileTensor(gguf_name(name), "F32", exact.shape, lambda: iter([exact]))


def _embedding(weight: Tensor, is_shared: bool) -> FileTensor:
    """The embedding in the shortest floats that hold it exactly; as a head, too, in 32 bits.

    Products of shorter floats would round their inputs.
    """
    kind = "F32" if is_shared else next(k for k in ("F16", "BF16", "F32") if _holds(k, weight))

    def pieces() -> Pieces:
        for start, stop in outputs_at_once(*weight.shape):
            rows = weight[start:stop].float().cpu()
            if kind == "BF16":
                yield rows.bfloat16().view(torch.int16).numpy()
            else:
                yield (rows.half() if kind == "F16" else rows).numpy()

    return FileTensor(gguf_name("model.embed_tokens.weight"), kind, tuple(weight.shape), pieces)


def _holds(kind: str, weight: Tensor) -> bool:
    short = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}[kind]
    return weight.dtype is short or all(
        torch.equal(weight[a:b].float().to(short).float(), weight[a:b].float())
        for a, b in outputs_at_once(*weight.shape)
    )
