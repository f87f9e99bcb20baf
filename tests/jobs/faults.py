"""Bundles that are wrong and sealed all the same: what a reader of checksums cannot notice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from hwsearch.runtime import Bundle, read_bundle
from hwsearch.runtime.bundle import sha256_of, write_manifest

Tensors = dict[str, np.ndarray]


def resealed(
    bundle: Bundle, out: Path, change: Callable[[Path], None], **manifest: object
) -> Bundle:
    """A copy of a bundle with its folder changed, and every checksum made right again."""
    shutil.copytree(bundle.path, out)
    change(out)
    held = {name: sha256_of(out / name) for name in bundle.manifest.sha256 if (out / name).exists()}
    write_manifest(out, bundle.manifest.model_copy(update={"sha256": held, **manifest}))
    return read_bundle(out)


def with_weights(change: Callable[[Tensors], None]) -> Callable[[Path], None]:
    """Change the initializers of each of a folder's graphs; they are given by name."""

    def apply(folder: Path) -> None:
        for file in folder.glob("*.onnx"):
            model = onnx.load(file)
            held = {tensor.name: tensor for tensor in model.graph.initializer}
            tensors = {n: onnx.numpy_helper.to_array(t).copy() for n, t in held.items()}
            change(tensors)
            for name, tensor in held.items():
                tensor.CopyFrom(onnx.numpy_helper.from_array(tensors[name], name))
            onnx.save(model, file)  # small enough to hold its weights itself

    return apply


def floats_of(tensors: Tensors, product: str) -> list[np.ndarray]:
    """The float initializers of a product: its weight, or the scales of a quantised one."""
    found = [
        array
        for name, array in sorted(tensors.items())
        if name.startswith(f"{product}.") and np.issubdtype(array.dtype, np.floating)
    ]
    assert found, f"{product} has no float initializer"
    return found


def scale(product: str, factor: float) -> Callable[[Path], None]:
    """Multiply a product's weights."""

    def change(tensors: Tensors) -> None:
        for array in floats_of(tensors, product):
            np.multiply(array, np.float32(factor), out=array)

    return with_weights(change)


def swap(one: str, other: str) -> Callable[[Path], None]:
    """Exchange all initializers of two products of one shape and format."""

    def change(tensors: Tensors) -> None:
        mine = {n.removeprefix(one): a for n, a in tensors.items() if n.startswith(f"{one}.")}
        for end, array in mine.items():
            array[...], tensors[other + end][...] = tensors[other + end].copy(), array.copy()

    return with_weights(change)


def first_is(product: str, value: float) -> Callable[[Path], None]:
    """Put a value into a product's first float."""

    def change(tensors: Tensors) -> None:
        floats_of(tensors, product)[0].reshape(-1)[0] = value

    return with_weights(change)
