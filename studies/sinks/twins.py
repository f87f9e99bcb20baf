"""The figure of gsm-mini beside its autoregressive twin: how their attention sinks move.

    python studies/sinks/twins.py

writes pictures, page and figures to studies/sinks/twins/, and twins.md: the table of findings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hwsearch.jobs.sinks import study_sinks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gsm-mini")
    parser.add_argument("--against", default="gsm-mini-ar")
    parser.add_argument("--limit", type=int, default=64, help="problems")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "twins")
    options = parser.parse_args()
    found = study_sinks(options.model, options.out, against=options.against, count=options.limit)[
        "findings"
    ]
    lines = [f"| question | {options.model} | {options.against} | difference | verdict |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in found:
        spans = (span(row[name]) for name in ("value", "against", "difference"))
        lines.append("| " + " | ".join([row["question"], *spans, row["verdict"]]) + " |")
    text = "\n".join(lines) + "\n"
    (options.out / "twins.md").write_text(text, encoding="utf-8")
    print(text)


def span(interval: dict[str, float] | None) -> str:
    if interval is None:
        return ""
    return f"{interval['mean']:.3g} ({interval['low']:.3g} to {interval['high']:.3g})"


if __name__ == "__main__":
    main()
