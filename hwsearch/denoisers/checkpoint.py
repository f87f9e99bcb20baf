"""Reading a model's tensors from safetensors files, under the names the transformer gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hwsearch.denoisers.catalog import PICKLE_REASON, PICKLES
from hwsearch.errors import CheckpointError

INDEX = "model.safetensors.index.json"

_LLADA_OUTSIDE = {
    "wte": "model.embed_tokens",
    "ln_f": "model.norm",
    "ff_out": "lm_head",
}
_LLADA_BLOCK = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
_LLADA_NAME = re.compile(r"model\.transformer\.(?:blocks\.(\d+)\.)?(\w+)\.(weight|bias)")

#: Older Llama checkpoints store what the rotary embedding computes anyway.
_COMPUTED = re.compile(r".*\.rotary_emb\.inv_freq")


def llada_name(name: str) -> str:
    """The transformer's name of a LLaDA tensor; a name of another pattern as it is.

    >>> llada_name("model.transformer.blocks.3.ff_out.weight")
    'model.layers.3.mlp.down_proj.weight'
    """
    match = _LLADA_NAME.fullmatch(name)
    if not match:
        return name
    layer, part, kind = match.groups()
    if layer is None:
        return f"{_LLADA_OUTSIDE[part]}.{kind}" if part in _LLADA_OUTSIDE else name
    return f"model.layers.{layer}.{_LLADA_BLOCK[part]}.{kind}" if part in _LLADA_BLOCK else name


def read_tensors(
    folder: Path, family: str, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """All tensors of a model folder, memory-mapped, then converted one at a time.

    Args:
        folder: holds ``model.safetensors``, or shards and their index.
        family: a name of `hwsearch.denoisers.config.FAMILIES`; decides how tensors are called.
        dtype: of the tensors returned.
        device: of the tensors returned.

    Raises:
        CheckpointError: there is no safetensors file, one is damaged or missing, or two hold
            the same tensor.
    """
    rename: Callable[[str], str] = llada_name if family == "llada" else str
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt", device=str(device)) as shard:
                for stored in shard.keys():  # noqa: SIM118 - not a mapping
                    name = rename(stored)
                    if _COMPUTED.fullmatch(stored):
                        continue
                    if name in tensors:
                        raise CheckpointError(f"{path}: tensor {stored} is in another shard too")
                    tensors[name] = shard.get_tensor(stored).to(dtype)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, those of its index where it has one.

    Raises:
        CheckpointError: there is none, or one that the index names is missing.
    """
    if (folder / INDEX).is_file():
        return _indexed(folder)
    found = sorted(folder.glob("*.safetensors"))
    if found:
        return found
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLES:
            raise CheckpointError(f"{path}: {PICKLE_REASON}")
    raise CheckpointError(f"{folder} holds no weights: model.safetensors or {INDEX} is missing")


def _indexed(folder: Path) -> list[Path]:
    path = folder / INDEX
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: must hold a weight_map of files ({error})") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{path}: {name!r} is not the name of a file beside it")
        if Path(name).suffix in PICKLES:
            raise CheckpointError(f"{folder / name}: {PICKLE_REASON}")
        if not (folder / name).is_file():
            raise CheckpointError(f"{path} names {name}, which is missing")
    return [folder / name for name in names]


def check_tensors(
    found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], where: object
) -> None:
    """Check that a checkpoint holds just the wanted tensors, in the shapes the config implies.

    Raises:
        CheckpointError: it does not; the message names the tensors.
    """
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing:
        raise CheckpointError(f"{where}: missing {_listing(missing)}; is the config of this model?")
    if extra:
        raise CheckpointError(f"{where}: no place for {_listing(extra)} in a model of this config")
    for name, shape in wanted.items():
        if found[name].shape != shape:
            raise CheckpointError(
                f"{where}: {name} is {list(found[name].shape)}, "
                f"but the config makes it {list(shape)}"
            )


def _listing(names: Iterable[str], most: int = 3) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    kind = "tensor" if len(names) == 1 else "tensors"
    return f"{kind} {', '.join(names[:most])}{more}"
