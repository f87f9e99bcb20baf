"""`hwsearch predict`: milliseconds of a plan on a device, by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    device_option,
    json_option,
    objective_option,
    prompt_length_option,
    sizes_option,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import percent, print_table, print_text


@click.command(name="predict", cls=Verb)
@click.argument("plan_file", type=click.Path(path_type=Path), metavar="PLAN.json")
@sizes_option("--model", default="gsm-mini")
@device_option("cpu")
@prompt_length_option
@objective_option
@json_option
def command(
    plan_file: Path,
    model: str,
    device: str,
    prompt_length: int | None,
    objective: str,
    as_json: bool,
) -> None:
    """Predict the generation time of PLAN.json, layer by layer.

    Joules are told beside it where the device's power is known; --objective energy insists on them.
    """
    from hwsearch.jobs.prediction import predict_plan
    from hwsearch.plan import CompressionPlan

    plan = CompressionPlan.read(plan_file)
    forecast = predict_plan(plan, model, device, prompt_length, objective)
    if as_json:
        print_json(forecast)
        return
    columns = [
        "layer", "kept share", "attention", "heads", "mlp", "channels", "ms", "10th-90th",
        "refreshes", "steps",
    ]  # fmt: skip
    print_table(headline(forecast), columns, map(layer_row, forecast["layers"]))
    rows = [
        (name, f"{part['ms']:.2f}", percent(part["ms"] / forecast["generation_ms"]))
        for name, part in forecast["where"].items()
    ]
    print_table("where the time goes", ["part", "ms", "share"], rows)
    print_text(passes_line(forecast))
    for line in remarks(forecast):
        print_text(line)


def passes_line(forecast: dict[str, Any]) -> str:
    """Passes apart from milliseconds: which, how many tokens each writes, how far problems differ."""
    passes = forecast["passes"]
    shown = " + ".join(f"{count:.3g} {kind}" for kind, count in passes.items() if count)
    low, high = forecast["problems_10_90_ms"]
    line = (
        f"{forecast['decoding']}: {sum(passes.values()):.3g} passes ({shown}), "
        f"{forecast['tokens_per_pass']:.2f} tokens each, {forecast['tokens_per_second']:.0f} tokens/s"
    )
    return line if low == high else f"{line}; {low:.2f} to {high:.2f} ms by problem (10th-90th)"


def headline(forecast: dict[str, Any]) -> str:
    """The prediction in one line."""
    ends = forecast["percentiles_10_90_ms"]
    return (
        f"{forecast['generation_ms']:.2f} ms{between(ends and ends['generation'], brackets=True)} "
        f"a generation on {forecast['device']} ({forecast['provenance']}"
        f"{'' if forecast['calibrated'] else ', uncalibrated: plain sums of operators'}): "
        f"refresh {forecast['refresh_ms']:.3f} ms, step {forecast['step_ms']:.3f} ms"
    )


def layer_row(layer: dict[str, Any]) -> tuple[object, ...]:
    """A layer as a row."""
    from hwsearch.plan import format_words

    return (
        layer["layer"],
        f"{layer['kept_share']:.3g}",
        format_words(layer, "attention"),
        layer["kept_heads"] or "all",
        format_words(layer, "mlp"),
        layer["kept_channels"] or "all",
        f"{layer['ms']:.2f}",
        between(layer["percentiles_10_90_ms"]),
        f"{layer['refresh_ms']:.2f}",
        f"{layer['step_ms']:.2f}",
    )


def between(ends: list[float] | None, brackets: bool = False) -> str:
    """Two percentiles; nothing where they are unknown.

    >>> between([1.0, 2.5]), between([1.0, 2.5], brackets=True), between(None)
    ('1.00-2.50', ' [1.00, 2.50]', '')
    """
    if ends is None:
        return ""
    low, high = ends
    return f" [{low:.2f}, {high:.2f}]" if brackets else f"{low:.2f}-{high:.2f}"


def remarks(forecast: dict[str, Any]) -> list[str]:
    """What binds, what it costs in joules, and what the arithmetic alone would."""
    lines = []
    if forecast["binding"] is not None:
        lines.append("{refresh} binds a refresh, {step} a step".format(**forecast["binding"]))
    largest = max(forecast["where"], key=lambda name: forecast["where"][name]["ms"])
    lines.append(f"most of the time goes into: {largest}")
    if forecast["percentiles_10_90_ms"] is None:
        lines.append("no percentiles: nothing was held against whole models on this device")
    if not forecast["forecast_priced"]:
        lines.append(
            "forecasts have no price on this device, so its milliseconds are without them; one that "
            "`hwsearch profile` times anew has one"
        )
    if forecast["generation_joules"] is not None:
        power = forecast["power"]
        lines.append(
            f"{forecast['generation_joules']:.3g} J a generation: {power['watts']:g} W "
            f"({power['scope']}) times that"
        )
    energy = forecast["arithmetic_energy"]
    share = percent(energy["share_of_uncompressed"])
    lines.append(f"{share} of the uncompressed plan's arithmetic energy ({energy['label']})")
    return lines
