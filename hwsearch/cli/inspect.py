"""`hwsearch inspect`: what a model is made of, from its config alone."""

from __future__ import annotations

import click

from hwsearch.cli.options import json_option, megabytes, print_json, print_table


@click.command(name="inspect")
@click.argument("model")
@click.option("--length", default=256, show_default=True, help="Positions of a pass.")
@json_option
def command(model: str, length: int, as_json: bool) -> None:
    """Geometry, parameters, bytes by format and work of MODEL. Reads no weights."""
    from dataclasses import asdict

    from hwsearch.denoisers.accounting import bytes_by_format, parameters, work
    from hwsearch.denoisers.config import read_geometry

    geometry = read_geometry(model)
    found = work(geometry, rows=length, keys=length, predicted=length)
    document = {
        "geometry": asdict(geometry),
        "parameters": {**asdict(parameters(geometry)), "total": parameters(geometry).total},
        "bytes": bytes_by_format(geometry),
        "work_flop": {**asdict(found), "total": found.total},
    }
    if as_json:
        print_json(document)
        return
    print_table(model, ["size", "value"], list(document["geometry"].items()))
    print_table("parameters", ["part", "count"], list(document["parameters"].items()))
    rows = [(name, megabytes(size)) for name, size in document["bytes"].items()]
    print_table("weights", ["format", "size"], rows)
    gflop = [(part, f"{flop / 1e9:.3f}") for part, flop in document["work_flop"].items()]
    print_table(f"work of a pass over {length} positions", ["part", "GFLOP"], gflop)
