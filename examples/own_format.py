"""What a weight format of your own would lose, before you write its operators.

    python examples/own_format.py [--questions 8]

Weights become -1, 0 or 1 times a scale for each output. How many nats that adds to the predictions of
gsm-mini is measured on frozen states, beside formats that there are.
"""

from __future__ import annotations

import argparse
import copy

import torch
from torch import nn

import hwsearch as hw
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.catalog import make_loss


def ternary(weight: torch.Tensor) -> torch.Tensor:
    """The nearest of -s, 0 and s, where s is the mean size of an output's large weights."""
    size = weight.abs()
    large = size > 0.7 * size.mean(dim=1, keepdim=True)
    scale = (size * large).sum(dim=1, keepdim=True) / large.sum(dim=1, keepdim=True)
    return weight.sign() * large * scale


def rounded(network: nn.Module) -> nn.Module:
    """A copy of a network whose layers' linears are rounded; the head stays."""
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for name, module in changed.named_modules():
            if isinstance(module, nn.Linear) and "layers" in name:
                module.weight.copy_(ternary(module.weight))
    return changed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=8, help="questions that are answered")
    options = parser.parse_args(arguments)

    denoiser = hw.load_denoiser("gsm-mini")
    problems = TaskChoice(limit=options.questions).calibration_problems()
    loss = make_loss("kl", denoiser, problems)
    kept = KeptShares.keeping_all(denoiser.num_layers)
    for name in ("w8a8", "w4", "w2"):
        plan = hw.CompressionPlan.uniform(denoiser.num_layers, attention=name, mlp=name)
        print(f"{name:8} {loss.loss(compress(denoiser, plan).network, kept):z.5f} nats")
    print(f"ternary  {loss.loss(rounded(denoiser.network), kept):z.5f} nats")


if __name__ == "__main__":
    main()
