"""Ask a finished study again: its front, and the best plan within other targets. No model is loaded.

python examples/search.py            # makes the study that this reads
python examples/read_front.py [NAME]
"""

from __future__ import annotations

import sys

import hwsearch as hw


def main(name: str = "example") -> None:
    study = hw.load_study(name)
    front = study.front().sort_values("generation_ms")
    print(f"{len(study.frame())} plans were tried, {len(front)} of them are on the front")
    for row in front.itertuples():
        formats = {str(fmt) for layer in row.plan.layers for fmt in layer.formats.values()}
        print(f"{row.generation_ms:8.2f} ms  {row.loss:z.5f} nats  {', '.join(sorted(formats))}")

    tried = study.frame().dropna(subset=["loss"])
    for target in (1.5 * front["generation_ms"].min(), 3.0 * front["generation_ms"].min()):
        within = tried[tried["generation_ms"] <= target]
        best = within.loc[within["loss"].idxmin()]
        print(f"within {target:.1f} ms: {best['loss']:z.5f} nats in {best['generation_ms']:.1f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
