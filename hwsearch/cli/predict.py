"""`hwsearch predict`: milliseconds of a plan on a device, by layer."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.options import json_option, print_json, print_table


@click.command(name="predict")
@click.argument("plan_file", type=click.Path(path_type=Path), metavar="PLAN.json")
@click.option("--model", default="gsm-mini", show_default=True, help="The model of the plan.")
@click.option("--device", default="cpu", show_default=True, help="A device, or its folder.")
@click.option("--prompt-length", type=int, help="Tokens of the prompt; the task's median if left.")
@json_option
def command(
    plan_file: Path, model: str, device: str, prompt_length: int | None, as_json: bool
) -> None:
    """Predict the generation time of PLAN.json, layer by layer."""
    from hwsearch.jobs.predicting import predict_plan
    from hwsearch.plan import CompressionPlan

    forecast = predict_plan(CompressionPlan.read(plan_file), model, device, prompt_length)
    if as_json:
        print_json(forecast)
        return
    title = (
        f"{forecast['generation_ms']:.2f} ms a generation on {forecast['device']} "
        f"({forecast['provenance']}): refresh {forecast['refresh_ms']:.3f} ms, "
        f"step {forecast['step_ms']:.3f} ms"
    )
    if forecast["binding"] is not None:
        title += "; {refresh} binds a refresh, {step} a step".format(**forecast["binding"])
    if forecast["generation_joules"] is not None:
        title += f"; {forecast['generation_joules']:.3g} J"
    rows = [
        (
            layer["layer"],
            layer["kept_share"],
            layer["attention"],
            layer["mlp"],
            f"{layer['ms']:.2f}",
        )
        for layer in forecast["layers"]
    ]
    print_table(title, ["layer", "kept share", "attention", "mlp", "ms"], rows)
