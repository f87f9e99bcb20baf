"""One plan on several devices: milliseconds, how sure they are, and where the figures come from.

python examples/compare_devices.py [DEVICE...]
"""

from __future__ import annotations

import sys

import hwsearch as hw
from hwsearch.jobs.prediction import predict_plan

DEVICES = ("cpu", "ryzen-7950x", "apple-m2-max", "raspberry-pi-5")


def main(*devices: str) -> None:
    for name in devices or DEVICES:
        offered = hw.load_device(name).costs.formats()
        fmt = "w8a8" if "w8a8" in offered else "w8"  # what each device runs
        plan = hw.CompressionPlan.uniform(6, attention=fmt, mlp=fmt, head=fmt)
        found = predict_plan(plan, "gsm-mini", name)
        range_ms = (found["percentiles_10_90_ms"] or {}).get("generation")
        sure = "no error known" if not range_ms else f"{range_ms[0]:.1f} to {range_ms[1]:.1f}"
        print(f"{name:16} {fmt:5} {found['generation_ms']:8.1f} ms ({sure}), {found['provenance']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
