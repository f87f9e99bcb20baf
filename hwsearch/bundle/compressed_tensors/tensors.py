"""The tensors of a folder, a layer at a time, scales of calibrated inputs folded into what makes these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hwsearch.bundle.compressed_tensors.schemes import tensors_of
from hwsearch.bundle.linears import codes_of, float_linear, formats_of, weight_of
from hwsearch.bundle.rounded import Factors, RoundedProducts
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import RMSNorm, Transformer
from hwsearch.formats.catalog import format_of
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from hwsearch.formats.weight_format import Codes

#: Tensors of one layer, or of what is outside of layers, by name.
Group = dict[str, Tensor]

_NORMS = {"input_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}


def tensor_groups(compressed: CompressedDenoiser, sizes: Geometry) -> Iterator[Group]:
    """All tensors, those of one layer together.

    Args:
        compressed: the model, its plan applied.
        sizes: of its layers, which are all alike.

    Raises:
        PlanError: a format that compressed-tensors does not know.
    """
    network = compressed.float_network
    assert isinstance(network, Transformer)
    factors = _factors(RoundedProducts.of(compressed.network), sizes)
    formats = formats_of(compressed)
    names = [name for name, _ in network.named_parameters() if not _is_shared(compressed, name)]
    prefixes = [f"model.layers.{index}." for index in range(sizes.num_layers)]
    for prefix in prefixes:
        linears = [path for path in formats if path.startswith(prefix)]
        group = _floats(network, [name for name in names if name.startswith(prefix)], factors)
        for path in linears:
            group |= _linear(compressed, path, formats[path], factors)
        yield group
    outside = [name for name in names if not name.startswith("model.layers.")]
    group = _floats(network, outside, factors)
    for path in (path for path in formats if not path.startswith("model.layers.")):
        if not _is_shared(compressed, f"{path}.weight"):
            group |= _linear(compressed, path, formats[path], factors)
    yield group


def is_tied(compressed: CompressedDenoiser) -> bool:
    """Whether the head is the embedding: not where it has a format, or a scale folds into its norm."""
    tied = compressed.denoiser.geometry.tie_embeddings
    return tied and compressed.plan.head is WeightFormat.FP32


def _is_shared(compressed: CompressedDenoiser, name: str) -> bool:
    return name == "lm_head.weight" and is_tied(compressed)


def _floats(network: Transformer, names: list[str], factors: dict[str, Factors]) -> Group:
    """Embeddings and norms; linears are written by format."""
    modules = dict(network.named_modules())
    found: Group = {}
    for name in names:
        owner = modules[name.rpartition(".")[0]]
        if isinstance(owner, RMSNorm) or name == "model.embed_tokens.weight":
            value = network.get_parameter(name).detach().float()
            if name in factors:
                value = value * torch.from_numpy(factors[name])
            found[name] = value.contiguous()
    return found


def _linear(
    compressed: CompressedDenoiser, path: str, fmt: WeightFormat, factors: dict[str, Factors]
) -> Group:
    """Weight and bias of a linear."""
    weight, factor = weight_of(compressed, path), factors.get(f"{path}.weight")
    if fmt is WeightFormat.FP32:
        exact = weight.float()
        exact = exact if factor is None else exact * torch.from_numpy(factor)[:, None]
        parts = {"weight": exact.contiguous()}
    else:
        codes = _joined(compressed, path, fmt)
        if factor is not None:
            codes = format_of(fmt).scale_outputs(codes, factor)
        parts = tensors_of(fmt, codes, weight.shape[1])
    bias = float_linear(compressed, path).bias
    if bias is not None:
        exact = bias.detach().float()
        parts["bias"] = exact if factor is None else exact * torch.from_numpy(factor)
    return {f"{path}.{part}": value for part, value in parts.items()}


def _joined(compressed: CompressedDenoiser, path: str, fmt: WeightFormat) -> Codes:
    """All codes of a linear."""
    weight = weight_of(compressed, path)
    specs = format_of(fmt).specs(weight.shape[1], weight.shape[0])
    pieces = list(codes_of(compressed, path, fmt))
    return {
        name: np.concatenate([piece[name] for piece in pieces], axis=spec.axis)
        for name, spec in specs.items()
    }


def _factors(rounded: RoundedProducts, sizes: Geometry) -> dict[str, Factors]:
    """What rows of linears, and entries of norms, are multiplied by; by the network's own names."""
    found: dict[str, Factors] = {}
    for name, values in rounded.factors.items():
        if name == "norm.weight":
            found["model.norm.weight"] = values
            continue
        _, index, part, kind = name.split(".")
        prefix = f"model.layers.{index}."
        if part in _NORMS:
            found[f"{prefix}{_NORMS[part]}.weight"] = values
        elif part == "gate_up":
            # the gate's half is all ones
            found[f"{prefix}mlp.up_proj.weight"] = values[sizes.intermediate_size :]
        elif kind == "weight":
            rows = values[sizes.query_size + sizes.kv_size :]
            found[f"{prefix}self_attn.v_proj.weight"] = rows
    return found
