"""`hwsearch inspect`: what a model is made of, from its config alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.completion import MODEL
from hwsearch.cli.help import Verb
from hwsearch.cli.options import json_option
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import megabytes, print_table

if TYPE_CHECKING:
    from hwsearch.denoisers.geometry import Geometry
    from hwsearch.plan import CompressionPlan, LayerPlan


@click.command(name="inspect", cls=Verb)
@click.argument("model", type=MODEL)
@click.option("--length", default=256, show_default=True, help="Positions of a pass.")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    help="A plan, to be told layer by layer.",
)
@json_option
def command(model: str, length: int, plan_file: Path | None, as_json: bool) -> None:
    """Geometry, parameters, bytes by format and work of MODEL. Reads no weights."""
    from dataclasses import asdict

    from hwsearch.denoisers.accounting import bytes_by_format, parameters, pass_flops
    from hwsearch.denoisers.loading.config import read_geometry
    from hwsearch.plan import CompressionPlan

    geometry = read_geometry(model)
    found = pass_flops(geometry, rows=length, keys=length, predicted=length)
    document: dict[str, Any] = {
        "geometry": asdict(geometry),
        "parameters": {**asdict(parameters(geometry)), "total": parameters(geometry).total},
        "bytes": bytes_by_format(geometry),
        "work_flop": {**asdict(found), "total": found.total},
    }
    if plan_file is not None:
        document["plan"] = planned(geometry, CompressionPlan.read(plan_file), length)
    if as_json:
        print_json(document)
        return
    print_table(model, ["size", "value"], list(document["geometry"].items()))
    print_table("parameters", ["part", "count"], list(document["parameters"].items()))
    rows = [(name, megabytes(size)) for name, size in document["bytes"].items()]
    print_table("weights", ["format", "size"], rows)
    gflop = [(part, f"{flop / 1e9:.3f}") for part, flop in document["work_flop"].items()]
    print_table(f"work of a pass over {length} positions", ["part", "GFLOP"], gflop)
    if "plan" in document:
        print_table(
            f"{plan_file}: {megabytes(document['plan']['size_bytes'])} in all",
            ["layer", "attention", "heads", "mlp", "channels", "size", "GFLOP"],
            map(layer_row, document["plan"]["layers"]),
        )


def planned(geometry: Geometry, plan: CompressionPlan, length: int) -> dict[str, Any]:
    """Bytes and work of a plan, layer by layer.

    Raises:
        PlanError: the plan does not fit the model.
    """
    from hwsearch.denoisers.accounting import layer_bytes, layer_work, plan_bytes
    from hwsearch.errors import PlanError

    if len(plan.layers) != geometry.num_layers:
        raise PlanError(
            f"the plan has {len(plan.layers)} layers but the model has {geometry.num_layers}"
        )
    size_bytes = plan_bytes(geometry, plan)
    layers = [
        {
            "layer": index,
            **named_formats(layer, "attention"),
            "kept_heads": layer.kept_heads or geometry.num_kv_heads,
            **named_formats(layer, "mlp"),
            "kept_channels": layer.kept_channels or geometry.intermediate_size,
            "size_bytes": layer_bytes(geometry, layer),
            "work_flop": layer_work(geometry, layer, length, length),
        }
        for index, layer in enumerate(plan.layers)
    ]
    return {"size_bytes": size_bytes, "layers": layers}


def named_formats(layer: LayerPlan, short: str) -> dict[str, str]:
    """A layer's formats of attention or mlp: one under the short form, or two under their own names."""
    from hwsearch.plan import SHORT_FORMS

    names = (short, *SHORT_FORMS[short])
    return {name: fmt.value for name, fmt in layer.formats.items() if name in names}


def layer_row(layer: dict[str, Any]) -> tuple[object, ...]:
    """A layer as a row."""
    from hwsearch.plan import format_words

    return (
        layer["layer"],
        format_words(layer, "attention"),
        layer["kept_heads"],
        format_words(layer, "mlp"),
        layer["kept_channels"],
        megabytes(layer["size_bytes"]),
        f"{layer['work_flop'] / 1e9:.3f}",
    )
