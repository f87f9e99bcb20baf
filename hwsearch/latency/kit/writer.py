"""A folder that times operators, and a few whole models, without hwsearch: graphs and a script.

Weights are not in the graphs: they name them as external data, and the script hands over random
ones of the same type and shape, so that a graph of a large matrix is a kilobyte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from hwsearch.bundle.graphs.decomposed import written_out
from hwsearch.bundle.weights import Graph
from hwsearch.files import whole_folder
from hwsearch.latency.devices.table_csv import KEY_COLUMNS
from hwsearch.latency.kit.kinds import PYTHON_KIT, KitKind
from hwsearch.latency.kit.models import KitModels, pass_bytes, pass_graphs
from hwsearch.latency.operators import OpKey
from hwsearch.latency.timing.operator_graphs import copies_of, probe_for
from hwsearch.latency.timing.operator_times import split

#: Initializers up to this size stay in the graph: scales of a whole tensor and the like.
INLINE_BYTES = 64

#: Types of initializers that always stay: axes and positions, which cannot be random.
INDICES = ("int64", "int32", "bool")

#: The file that graphs say their weights are in; there is none.
ABSENT_FILE = "brought-by-measure"

#: Where a weight would begin in it: on a line of the cache.
_LINE = 64


def write_kit(
    keys: Sequence[OpKey],
    folder: Path,
    models: KitModels | None = None,
    kind: KitKind = PYTHON_KIT,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a kit that times these operators: complete, or not at all.

    Args:
        keys: what to time.
        folder: to be made: ``kit.json``, ``graphs/`` and what times them.
        models: what to run whole; without it what comes back stays uncalibrated.
        kind: what it is for.
        overwrite: replace a folder that is there.

    Raises:
        InputError: the folder exists and `overwrite` is false.
    """
    with whole_folder(folder, "replace" if overwrite else "refuse") as fresh:
        (fresh / "graphs").mkdir()
        kind.write(fresh)
        operators = [
            _write_operator(key, f"{index}-{number}.onnx", index, fresh, kind)
            for index, batch in enumerate(split(keys, kind.batch_bytes))
            for number, key in enumerate(batch)
        ]
        if models is not None:
            operators += _write_models(models, operators[-1]["batch"] + 1, fresh, kind)
        whole = None if models is None else models.model_dump(mode="json")
        text = json.dumps([operators, whole], sort_keys=True)
        kit = {
            "kit": hashlib.sha256(text.encode()).hexdigest()[:16],
            "runtime": kind.provider.name,
            "columns": KEY_COLUMNS,
            "operators": operators,
            "whole": whole,
        }
        (fresh / "kit.json").write_text(json.dumps(kit, indent=1), encoding="utf-8")
    return folder


def _write_operator(
    key: OpKey, name: str, batch: int, folder: Path, kind: KitKind
) -> dict[str, Any]:
    """Write an operator's graph, and say what the script must know of it."""
    model, feeds = probe_for(kind.provider, key)
    return {
        "key": asdict(key),
        "graph": name,
        "batch": batch,
        "copies": copies_of(key),
        **_write_bare(Graph(model, {}), folder / "graphs" / name),
        "inputs": {feed: [value.dtype.name, list(value.shape)] for feed, value in feeds.items()},
    }


def _write_models(
    models: KitModels, batch: int, folder: Path, kind: KitKind
) -> list[dict[str, Any]]:
    """Write the passes of the plans, as many plans in a batch as fit into memory together."""
    plans_a_batch = max(1, int(kind.batch_bytes // (2 * pass_bytes(models))))
    written = []
    for each in pass_graphs(models):
        name = f"{each.key.kind}-{each.key.in_features}.onnx"
        graph = written_out(each.graph, kind.provider.decomposed)
        written.append(
            {
                "key": asdict(each.key),
                "graph": name,
                "batch": batch + (each.key.in_features - 1) // plans_a_batch,
                "copies": 1,
                **_write_bare(graph, folder / "graphs" / name),
                "inputs": each.inputs,
            }
        )
    return written


def _write_bare(graph: Graph, path: Path) -> dict[str, Any]:
    """Write a graph without its weights; returns type and shape of each, and where it says they lie."""
    model, weights, offsets, end = graph.copy().model, {}, {}, 0
    for constant in model.graph.initializer:
        value = graph.value(constant.name)
        if value.dtype.name in INDICES or value.nbytes <= INLINE_BYTES:
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
        else:
            weights[constant.name] = [value.dtype.name, list(value.shape)]
            offsets[constant.name] = end
            _leave_out(constant, end, value.nbytes)
            end += -(-value.nbytes // _LINE) * _LINE
    path.write_bytes(model.SerializeToString())
    return {
        "weights": weights,
        "weights_at": ABSENT_FILE,
        "weight_offsets": offsets,
        "weight_bytes": end,
    }


def _leave_out(constant: onnx.TensorProto, offset: int, nbytes: int) -> None:
    """Leave a constant's values out of the graph; whoever opens it must bring them."""
    bare = onnx.TensorProto(name=constant.name, data_type=constant.data_type, dims=constant.dims)
    bare.data_location = TensorProto.EXTERNAL
    place = {"location": ABSENT_FILE, "offset": str(offset), "length": str(nbytes)}
    for key, value in place.items():
        bare.external_data.add(key=key, value=value)
    constant.CopyFrom(bare)
