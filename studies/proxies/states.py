"""How few frozen states rank plans as well as many: the KL on some questions, at some refreshes each.

    python studies/proxies/states.py

takes the plans and exact matches of run.py (plans.jsonl, losses.csv), writes states.csv in the same
columns and prints the same ranking.
"""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import torch

from hwsearch.compression import WeightBank, compress
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.report.proxies import COLUMNS, rank, read_losses
from hwsearch.sinks import calibrate_sinks
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.kl import FrozenStates

HERE = Path(__file__).parent

#: Calibration questions, and judged refreshes of each.
VARIANTS = ((32, 3), (32, 1), (48, 1), (64, 1))


def main() -> None:
    torch.set_num_threads(1)
    rows = measure(read_losses(HERE / "losses.csv"))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.to_csv(HERE / "states.csv", index=False, float_format="%.8g")
    for row in rank(table):
        low, high = row.spearman_interval
        print(
            f"{row.proxy}: {row.cost_passes:.0f} passes, Spearman {row.spearman:.3f} "
            f"({low:.3f} to {high:.3f}), behind the best by {row.behind_interval[0]:.3f} "
            f"to {row.behind_interval[1]:.3f}"
        )


def measure(losses: pd.DataFrame) -> list[dict[str, object]]:
    """One row a plan and number of refreshes."""
    denoiser = load_denoiser("gsm-mini")
    sinks, bank = (
        calibrate_sinks(denoiser, TaskChoice().calibration_questions()),
        WeightBank(denoiser),
    )
    states = {
        f"kl on {count} x {each}": forgetful(
            FrozenStates.record(
                denoiser, TaskChoice().calibration_questions(count), per_question=each
            )
        )
        for count, each in VARIANTS
    }
    scores = losses[losses["proxy"] == "kl"].sort_values("plan")
    plans = [CompressionPlan.model_validate_json(line) for line in (HERE / "plans.jsonl").open()]
    rows: list[dict[str, object]] = []
    for plan, score in zip(plans, scores.to_dict("records"), strict=True):
        network, shares = compress(denoiser, plan, bank).network, sinks.kept_shares(plan)
        for name, proxy in states.items():
            began = time.perf_counter()
            loss = proxy.loss(network, shares)
            seconds = time.perf_counter() - began
            measured = {"proxy": name, "loss": loss, "cost_passes": proxy.cost, "seconds": seconds}
            rows.append({**score, **measured})
        print(f"plan {score['plan']}", flush=True)
    return rows


def forgetful(states: FrozenStates) -> FrozenStates:
    """The same states without a memory of layer outputs, so that seconds are those of whole passes."""
    return FrozenStates(states.states, states.mask_token_id, states.refresh_share, 0)


if __name__ == "__main__":
    main()
