"""What compressed-tensors calls our formats, and the tensors of a linear in each.

The fields of a scheme and the layout of packed weights: https://github.com/vllm-project/compressed-tensors
(`quantization/quant_args.py`, `compressors/pack_quantized`). Blocks are stored by weights alone: their inputs
stay floats. Of ``w8a8`` inputs are rounded by row and not by sample, since nobody who reads these folders has
kernels for the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from hwsearch.compression.input_rounding import unrounded, with_inputs_rounded
from hwsearch.denoisers.network import Network
from hwsearch.errors import PlanError
from hwsearch.formats.blocks import Blocks, packed
from hwsearch.formats.catalog import format_of
from hwsearch.formats.linears.simulated_linear import Rounding
from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwsearch.formats.weight_format import Codes

#: Bytes of a word that codes are packed into.
_WORD: Final = 4


def scheme_of(fmt: WeightFormat) -> dict[str, Any]:
    """A group of ``config_groups`` for a format, without its targets.

    Raises:
        PlanError: compressed-tensors has nothing that computes as the format does.
    """
    form = format_of(fmt)
    if isinstance(form, Blocks):
        weights = _args(
            form.bits, strategy="group", group_size=form.block, symmetric=form.symmetric
        )
        return {"weights": weights, "input_activations": None, "format": "pack-quantized"}
    if fmt in (WeightFormat.W8A8, WeightFormat.FP8):
        kind = "int" if fmt is WeightFormat.W8A8 else "float"
        return {
            "weights": _args(8, type=kind, strategy="channel"),
            "input_activations": _args(8, type=kind, strategy="token", dynamic=True),
            "format": f"{kind}-quantized",
        }
    raise PlanError(
        f"compressed-tensors has no scheme for {fmt.value}; it has fp32, fp8, w8a8 and blocks of 2, 4 "
        "and 8 bits"
    )


def check_blocks(fmt: WeightFormat, inputs: int, path: str) -> None:
    """Raise `PlanError` where blocks do not divide the inputs of a linear."""
    form = format_of(fmt)
    if isinstance(form, Blocks) and inputs % form.block:
        raise PlanError(
            f"{path}: {inputs} inputs are no whole blocks of {form.block}, as compressed-tensors wants them "
            f"for {fmt.value}; give it another format"
        )


def _args(bits: int, **changes: Any) -> dict[str, Any]:
    plain = {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False}
    return plain | {"group_size": None} | changes


def tensors_of(fmt: WeightFormat, codes: Codes, inputs: int) -> dict[str, Tensor]:
    """What a folder holds of a linear ``[out, in]`` in a format, by the last part of the name.

    Args:
        fmt: the format.
        codes: the arrays of `Format.encode`.
        inputs: of the linear; whole blocks of them.
    """
    form = format_of(fmt)
    if not isinstance(form, Blocks):
        numbers = np.ascontiguousarray(codes["_quantized"].T)
        kind = torch.float8_e4m3fn if fmt is WeightFormat.FP8 else torch.int8
        weight = torch.from_numpy(numbers.view(np.int8)).view(kind)
        return {"weight": weight, "weight_scale": _floats(codes["_scale"])[:, None]}
    scales = _floats(codes["_scales"])
    found = {
        "weight_packed": _words(
            np.asarray(codes[f"_Q{form.bits}"], dtype=np.uint8).reshape(len(scales), -1)
        ),
        "weight_scale": scales,
        "weight_shape": torch.tensor([len(scales), inputs], dtype=torch.int64),
    }
    points = form.zero_points(codes)
    if points is not None:
        along = packed(np.ascontiguousarray(points.T), form.bits)  # the outputs
        found["weight_zero_point"] = _words(along).T.contiguous()
    return found


def _floats(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _words(values: NDArray[np.uint8]) -> Tensor:
    """Bytes ``[rows, bytes]`` as 32-bit words, the first byte lowest."""
    rows = np.pad(values, ((0, 0), (0, -values.shape[1] % _WORD)))
    return torch.from_numpy(np.ascontiguousarray(rows).view("<i4").astype(np.int32))


def stored_network(network: Network) -> Network:
    """A compressed network as whoever reads its folder computes it; it shares all weights."""
    return with_inputs_rounded(network, _rounding)


def _rounding(form: Format) -> Rounding | None:
    if isinstance(form, Blocks):
        return unrounded
    return _by_row if form.name is WeightFormat.W8A8 else None


def _by_row(x: Tensor) -> Tensor:
    """Inputs at int8 with one scale a row, whose largest magnitude is 127.5 steps."""
    exact = x.float()
    scale = exact.abs().amax(dim=-1, keepdim=True) / 127.5
    scale = torch.where(scale > 0, scale, 1.0)
    return (exact / scale).round().clamp(-128, 127).mul(scale).to(x.dtype)


def groups_of_targets(targets: Mapping[WeightFormat, list[str]]) -> dict[str, Any]:
    """The ``config_groups`` of linears by format, uncompressed ones left out."""
    lossy = {fmt: paths for fmt, paths in targets.items() if fmt is not WeightFormat.FP32}
    return {
        f"group_{index}": scheme_of(fmt) | {"targets": paths, "output_activations": None}
        for index, (fmt, paths) in enumerate(lossy.items())
    }
