"""Fit published devices, check the fits on rows they did not see, and write their `device.toml`.

    python studies/published-devices/fit.py [CSV] [--out latency_tables] [--json]

CSV holds published benchmarks, one row each: device, model, format, tokens a second of a prompt and of
a generation, software, date, source. It stays where it is; only what is fitted, with its
sources, is written.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

from models import ENCODINGS
from recipes import DATASHEETS, RECIPES, W4, Datasheet, Pick, Recipe
from rows import Row, decode_pass, prefill_pass, read_rows

from hwsearch.latency.devices.device import (
    DeviceInfo,
    Power,
    Provenance,
    PublishedCheck,
    write_info,
)
from hwsearch.latency.devices.roofline import FormatRate, Roofline, TimedPass, fit_memory, fit_rate
from hwsearch.plan import WeightFormat

CHECKOUT = Path(__file__).parents[2]
CSV = CHECKOUT.parent / "shared/data/devices/published_benchmarks.csv"

#: Bytes of a weight on a modelled device: codes alone, and a 16-bit scale for 32 4-bit codes.
PLAIN_BYTES = {
    WeightFormat.FP16: 2.0,
    WeightFormat.FP8: 1.0,
    WeightFormat.W8A8: 1.0,
    W4: 18 / 32,
}


class Fit:
    """A recipe with its rows found."""

    def __init__(self, recipe: Recipe, rows: Sequence[Row]) -> None:
        self.recipe = recipe
        self.rows = rows
        self.memory = [(pick, self.decode(pick)) for pick in recipe.memory]
        self.bandwidth, self.operator_us = fit_memory([timed for _, timed in self.memory])
        self.tflops = {
            fmt: fit_rate(self.prefill(pick), self.bandwidth, self.operator_us)
            for fmt, pick in recipe.rates.items()
        }

    def row(self, pick: Pick) -> Row:
        """The one row that a pick means."""
        hardware = pick.hardware or self.recipe.hardware
        found = [
            row
            for row in self.rows
            if (row.device, row.model, row.format) == (hardware, pick.model, pick.format)
            and pick.software in row.software
        ]
        assert len(found) == 1, f"{hardware}: {pick} means {len(found)} rows"
        return found[0]

    def decode(self, pick: Pick) -> TimedPass:
        return decode_pass(self.row(pick), pick.context, pick.head)

    def prefill(self, pick: Pick) -> TimedPass:
        return prefill_pass(self.row(pick), pick.prompt, pick.ubatch, pick.head_rows)

    def roofline(self) -> Roofline:
        rates = {
            fmt: FormatRate(
                stands_for=pick.format,
                bytes_per_weight=ENCODINGS[pick.format].body,
                tflops=rounded(self.tflops[fmt]),
            )
            for fmt, pick in self.recipe.rates.items()
        }
        return Roofline(
            bandwidth_gbps=rounded(self.bandwidth),
            operator_us=rounded(self.operator_us),
            rates=rates,
        )

    def check(
        self, held_out: str, pick: Pick, phase: str, numbers: tuple[float, ...]
    ) -> PublishedCheck:
        """One row against its prediction from (bandwidth, operator_us, tflops)."""
        timed = self.decode(pick) if phase == "decode" else self.prefill(pick)
        passes = 1 if phase == "decode" else -(-pick.prompt // pick.ubatch)
        return PublishedCheck(
            held_out=held_out,
            model=pick.model,
            format=pick.format,
            rows=1 if phase == "decode" else min(pick.ubatch, pick.prompt),
            predicted_ms=rounded(timed.predict_ms(*numbers) / passes),
            published_ms=rounded(timed.ms / passes),
            source=self.row(pick).citation,
        )

    def folds(self, held_out: str) -> Iterator[tuple[Pick, tuple[float, float]]]:
        """Decode rows with the bandwidth and start-up cost of a fit that saw none of their kind."""
        for pick, _ in self.memory:
            left_out = getattr(pick, held_out)
            others = [timed for other, timed in self.memory if getattr(other, held_out) != left_out]
            if len(others) >= 2:
                yield pick, fit_memory(others)

    def checks(self) -> Iterator[PublishedCheck]:
        models = {pick.model for pick, _ in self.memory}
        for held_out in ("format", "model") if len(models) > 1 else ("format",):
            for pick, numbers in self.folds(held_out):
                yield self.check(held_out, pick, "decode", (*numbers, 1.0))
        if len(models) == 1:
            yield from self.held_out_rates()
        for extra in self.recipe.extras:
            numbers3 = (self.bandwidth, self.operator_us, self.tflops[extra.rate])
            yield self.check(extra.held_out, extra.pick, extra.phase, numbers3)

    def held_out_rates(self) -> Iterator[PublishedCheck]:
        """Prefill of a quantised format with the rate of the other: they share their kernels."""
        folds = dict(self.folds("format"))
        quantised = [p for p in self.recipe.rates.values() if p in folds and "Q" in p.format]
        for pick, other in permutations(quantised, 2):
            tflops = fit_rate(self.prefill(other), *folds[pick])
            yield self.check("format", pick, "prefill", (*folds[pick], tflops))

    def info(self) -> DeviceInfo:
        recipe = self.recipe
        picks = dict.fromkeys([*recipe.memory, *recipe.rates.values()])
        checks = tuple(self.checks())
        return DeviceInfo(
            name=recipe.name,
            provenance=Provenance.PUBLISHED,
            description=recipe.description,
            runtime=recipe.runtime,
            threads=recipe.threads,
            roofline=self.roofline(),
            checks=checks,
            power=self.power(),
            sources=tuple(dict.fromkeys(self.row(pick).citation for pick in picks)),
            caveats=recipe.caveats,
        )

    def power(self) -> Power | None:
        if self.recipe.power is None or self.recipe.power_pick is None:
            return None
        row = self.row(self.recipe.power_pick)
        assert row.power_w is not None
        return Power(watts=row.power_w, scope=self.recipe.power, source=row.citation)


def modelled(sheet: Datasheet) -> DeviceInfo:
    """A device from peak numbers alone."""
    rates = {
        fmt: FormatRate(stands_for=fmt.value, bytes_per_weight=PLAIN_BYTES[fmt], tflops=tflops)
        for fmt, tflops in sheet.tflops.items()
    }
    return DeviceInfo(
        name=sheet.name,
        provenance=Provenance.MODELLED,
        description=sheet.description,
        runtime="none",
        roofline=Roofline(bandwidth_gbps=sheet.bandwidth_gbps, operator_us=0.0, rates=rates),
        sources=sheet.sources,
        caveats=(
            "peak numbers: real kernels reach a part of them, and starting one costs time",
            "nothing was run, so no accuracy is claimed",
        ),
    )


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def fit_all(path: Path) -> list[DeviceInfo]:
    """Every device, published ones first."""
    rows = read_rows(path)
    return [Fit(recipe, rows).info() for recipe in RECIPES] + [modelled(s) for s in DATASHEETS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, nargs="?", default=CSV)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "latency_tables")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    args = parser.parse_args()
    infos = fit_all(args.csv)
    for info in infos:
        (args.out / info.name).mkdir(parents=True, exist_ok=True)
        write_info(info, args.out / info.name / "device.toml")
    if args.json:
        print(json.dumps([info.model_dump(mode="json") for info in infos], indent=2))
        return
    for info in infos:
        print(line(info))
        for check in info.checks:
            print(
                f"    {check.held_out:6} {check.model:22} {check.format:20} rows {check.rows:3} "
                f"{check.predicted_ms:8.2f} ms, published {check.published_ms:8.2f}: "
                f"{100 * check.error:+.1f} %"
            )


def line(info: DeviceInfo) -> str:
    """A device in one line."""
    roofline = info.roofline
    assert roofline is not None
    rates = ", ".join(f"{fmt} {rate.tflops:g}" for fmt, rate in roofline.rates.items())
    error = info.held_out_error
    held_out = "none" if error is None else f"{100 * error:.1f} %"
    return (
        f"{info.name:30} {info.provenance:9} {roofline.bandwidth_gbps:6g} GB/s "
        f"{roofline.operator_us:6g} us/operator, TFLOPS {rates}; worst held-out format {held_out}"
    )


if __name__ == "__main__":
    main()
