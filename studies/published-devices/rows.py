"""Rows of the published benchmarks, as passes that a roofline can be fitted to."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from models import ENCODINGS, GEOMETRIES

from hwsearch.latency.benchmarks.passes import prompt_operators, token_operators
from hwsearch.latency.devices.roofline import TimedPass


@dataclass(frozen=True)
class Row:
    """One line of the file; what a column lacks is None."""

    device: str
    model: str
    format: str
    prefill_tps: float | None
    decode_tps: float | None
    power_w: float | None
    software: str
    date: str
    source: str

    @property
    def citation(self) -> str:
        """Where the row stands, what it says, and whether that is second-hand."""
        said = [f"prefill {self.prefill_tps} tok/s"] if self.prefill_tps else []
        said += [f"decode {self.decode_tps} tok/s"] if self.decode_tps else []
        hand = "second-hand, " if "SECOND-HAND" in self.source else ""
        link = re.search(r"https?://[^\s;),]+", self.source)
        where = link.group().rstrip(".") if link else self.source.split(";")[0]
        return f"{self.model} {self.format}, {' and '.join(said)}: {hand}{where} ({self.date})"


def read_rows(path: Path) -> list[Row]:
    """All rows of the file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                line["device"],
                line["model"],
                line["format"],
                _number(line["pp512_tps"]),
                _number(line["tg128_tps"]),
                _number(line["power_w"]),
                line["software"],
                line["date"].strip("~ "),
                line["source"],
            )
            for line in csv.DictReader(file)
        ]


def decode_pass(row: Row, context: int, head: bool = True) -> TimedPass:
    """The pass that wrote one token."""
    assert row.decode_tps is not None
    operators = token_operators(GEOMETRIES[row.model], context, head)
    return TimedPass.of(operators, _bytes(row), 1e3 / row.decode_tps)


def prefill_pass(row: Row, prompt: int, ubatch: int = 512, head_rows: int = 1) -> TimedPass:
    """The passes that read a prompt."""
    assert row.prefill_tps is not None
    operators = prompt_operators(GEOMETRIES[row.model], prompt, ubatch, head_rows)
    return TimedPass.of(operators, _bytes(row), 1e3 * prompt / row.prefill_tps)


def _bytes(row: Row) -> dict[str, float]:
    return ENCODINGS[row.format].bytes_per_weight


def _number(text: str) -> float | None:
    return float(text) if text and "-" not in text else None
