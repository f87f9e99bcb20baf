"""Energy of the plans that pruning, quantisation or both found for a board, in each of its power modes.

    python studies/joint/run.py search --device jetson-orin-nano-super-25w --decodings fixed
    python studies/joint/energy.py [--device jetson-orin-nano-super-25w]

A plan's loss does not depend on the mode, so the trials of one mode serve all: each plan's time is predicted
anew, and joules are that time times the mode's published power. Printed, for each arm and loss, is the least
energy of a generation within that loss, as a share of the uncompressed model's in the same mode: mean of the
seeds, and the least and largest. `anywhere` chooses the mode as well, against the board's fastest mode.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from run import ARMS, LOSSES, Subject, Tried, read, spread, table_of

from hwsearch.latency.devices.device import Device, load_device
from hwsearch.latency.prediction.full_pass import predictor_of

HERE = Path(__file__).parent
MODES = ("7w", "15w", "25w", "maxn")
BOARD = "jetson-orin-nano-super"


def joules(subject: Subject, device: Device, trials: list[Tried]) -> list[float]:
    """Energy of each trial's plan on a device."""
    bench, workload = subject.both.workbench, subject.both.predictor.workload
    predictor = predictor_of(device, bench.denoiser, workload)
    return [predictor.energy_j(bench.keep(one.plan)) for one in trials]


def energies(path: Path, device: str) -> pd.DataFrame:
    """A row a trial, with joules by mode."""
    subject = Subject.make(False, device)
    devices = {mode: load_device(f"{BOARD}-{mode}") for mode in MODES}
    seeds = sorted(set(pd.read_csv(path)["seed"]))
    parts = []
    for arm in ARMS:
        for seed in seeds:
            trials = read(path, "fixed", arm, seed)
            found = {mode: joules(subject, one, trials) for mode, one in devices.items()}
            named = {"arm": arm, "seed": seed, "loss": [one.loss for one in trials]}
            parts.append(pd.DataFrame(named | found))
    return pd.concat(parts)


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Least energy within each loss, as a share of the uncompressed model's."""
    rows = []
    for arm, part in table.groupby("arm", sort=False):
        for loss in LOSSES:
            row: dict[str, object] = {"arm": arm, "within": loss}
            found: dict[str, list[float]] = {}
            for _, trials in part.groupby("seed"):
                whole, good = trials.iloc[0], trials[trials["loss"] <= loss]
                for mode in MODES:
                    found.setdefault(mode, []).append(good[mode].min() / whole[mode])
                best = good[list(MODES)].min().min()
                found.setdefault("anywhere", []).append(best / whole["maxn"])
            rows.append(row | {mode: spread(values) for mode, values in found.items()})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default=f"{BOARD}-25w")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    table = energies(table_of(options.out, options.device), options.device)
    found = shares(table)
    found.to_csv(options.out / "energy.csv", index=False)
    whole = table[table["arm"] == "prune"].iloc[0]
    print("uncompressed, J a generation:", {mode: f"{whole[mode]:.3g}" for mode in MODES})
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
