"""Write a compressed model as a Hugging Face folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

from hwsearch.bundle.compressed_tensors.config import check_architecture, config_of, tokenizer_files
from hwsearch.bundle.compressed_tensors.tensors import Group, tensor_groups
from hwsearch.bundle.linears import sizes_of
from hwsearch.bundle.partial import PartialBundle, check_room_for
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.files import refuse_existing
from hwsearch.progress import each

#: Bytes of a file of weights that the next layer does not fit into.
SHARD_BYTES = 2 << 30

#: Names of the files.
PLAN, WHOLE, INDEX = "plan.json", "model.safetensors", "model.safetensors.index.json"


def export_compressed_tensors(
    compressed: CompressedDenoiser, out: Path, *, overwrite: bool = False
) -> Path:
    """A folder that transformers and vLLM load: config, packed weights, tokenizer and plan.

    Args:
        compressed: the model, its plan applied.
        out: the folder; complete, or not there at all.
        overwrite: replace a folder that is there.

    Returns:
        The folder.

    Raises:
        InputError: `out` exists and `overwrite` is false, the disk has too little room, or the model is no
            architecture of transformers.
        PlanError: compressed-tensors has no scheme for a format, or layers differ in size.
    """
    denoiser = compressed.denoiser
    refuse_existing(out, overwrite)
    check_architecture(denoiser)
    sizes = sizes_of(compressed, "a folder for transformers")
    config = config_of(compressed, sizes)
    check_room_for(out, denoiser.plan_bytes(compressed.plan))
    out.parent.mkdir(parents=True, exist_ok=True)
    with PartialBundle(out, f"compressed-tensors {uuid.uuid4()}") as partial:
        texts = {
            "config.json": json.dumps(config, indent=2) + "\n",
            PLAN: compressed.plan.to_json(),
            **tokenizer_files(denoiser),
        }
        for name, text in texts.items():
            (partial.folder / name).write_text(text, encoding="utf-8")
        groups = each(tensor_groups(compressed, sizes), "writing weights", sizes.num_layers + 1)
        _write_shards(partial.folder, groups)
        partial.move()
    return out


def _write_shards(folder: Path, groups: Iterable[Group]) -> None:
    """Layers one after another, as many in a file as fit; with an index where there are several."""
    shards: list[Group] = []
    held: Group = {}

    def write() -> None:
        shards.append(
            {name: torch.empty_like(value, device="meta") for name, value in held.items()}
        )
        save_file(held, _shard(folder, len(shards)), metadata={"format": "pt"})
        held.clear()

    for group in groups:
        if held and _nbytes(held) + _nbytes(group) > SHARD_BYTES:
            write()
        held |= group
    write()
    if len(shards) == 1:
        _shard(folder, 1).rename(folder / WHOLE)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _shard(folder, number).rename(folder / name)
        places |= dict.fromkeys(shard, name)
    total = sum(map(_nbytes, shards))
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shard(folder: Path, number: int) -> Path:
    return folder / f"shard{number}"


def _nbytes(group: Group) -> int:
    return sum(value.nbytes for value in group.values())
