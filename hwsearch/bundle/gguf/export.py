"""Write a compressed model as a folder with a GGUF file."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwsearch.bundle.gguf.metadata import Value, architecture_of, metadata_of
from hwsearch.bundle.gguf.tensors import FileTensor, file_tensors, file_type
from hwsearch.bundle.gguf.tokenizer import is_told, tokenizer_fields
from hwsearch.bundle.linears import sizes_of
from hwsearch.bundle.partial import PartialBundle, check_room_for
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.denoisers.loading.gguf.config import ARCHITECTURES
from hwsearch.denoisers.loading.special_tokens import TOKENIZER
from hwsearch.errors import InputError
from hwsearch.files import refuse_existing
from hwsearch.progress import work

#: Names of the files.
MODEL, PLAN = "model.gguf", "plan.json"

#: Types of values in the file, by those of Python.
_TYPES = {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING"}


def export_gguf(compressed: CompressedDenoiser, out: Path, *, overwrite: bool = False) -> Path:
    """A folder that llama.cpp, and hwsearch itself, can load: model, plan and, where need be, a tokenizer.

    Args:
        compressed: the model, its plan applied.
        out: the folder; complete, or not there at all.
        overwrite: replace a folder that is there.

    Returns:
        The GGUF file.

    Raises:
        InputError: `out` exists and `overwrite` is false, the package ``gguf`` is missing, the disk has too
            little room, or the model is none that llama.cpp knows.
        PlanError: a GGUF file cannot hold what the plan says.
    """
    package = _package()
    denoiser = compressed.denoiser
    refuse_existing(out, overwrite)
    sizes, architecture = sizes_of(compressed, "a GGUF file"), architecture_of(denoiser)
    tensors = file_tensors(compressed, sizes, ARCHITECTURES[architecture].paired)
    check_room_for(out, sum(tensor.nbytes for tensor in tensors))
    values = metadata_of(denoiser, sizes, architecture)
    values["general.file_type"] = file_type(tensors)
    values |= (tokens := tokenizer_fields(denoiser))
    out.parent.mkdir(parents=True, exist_ok=True)
    with PartialBundle(out, f"gguf {uuid.uuid4()}") as partial:
        _write(package, partial.folder / MODEL, architecture, values, tensors)
        (partial.folder / PLAN).write_text(compressed.plan.to_json(), encoding="utf-8")
        if not is_told(tokens):
            (partial.folder / TOKENIZER).write_text(_plain(denoiser.tokenizer), encoding="utf-8")
        partial.move()
    return out / MODEL


def _plain(tokenizer: Any) -> str:
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)


def _package() -> ModuleType:
    try:
        import gguf
    except ImportError as error:
        raise InputError(
            'writing a GGUF file needs the package gguf: pip install "hwsearch[gguf]"'
        ) from error
    return gguf


def _write(
    package: ModuleType,
    path: Path,
    architecture: str,
    values: dict[str, Value],
    tensors: list[FileTensor],
) -> None:
    writer = package.GGUFWriter(path, architecture)
    for key, value in values.items():
        kinds = package.GGUFValueType
        if isinstance(value, list):
            writer.add_key_value(key, value, kinds.ARRAY)
        else:
            writer.add_key_value(key, value, kinds[_TYPES[type(value)]])
    for tensor in tensors:
        kind = package.GGMLQuantizationType[tensor.kind]
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    with work("writing weights", len(tensors)) as advance:
        for tensor in tensors:
            for piece in tensor.pieces():
                file.write(piece.tobytes())
            writer.write_padding(file, tensor.nbytes)
            advance(1)
    writer.close()
