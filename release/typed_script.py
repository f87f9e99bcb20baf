"""A script as users write it; `release/check_packages.py` has mypy check it against the installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import hwsearch as hw


def fast_plan(model: str) -> hw.CompressionPlan:
    """A plan of 8 bits for as many layers as a model has."""
    denoiser = hw.load_denoiser(model)
    plan = hw.CompressionPlan.uniform(denoiser.num_layers, attention="w8a8", mlp="w8")
    assert_type(plan, hw.CompressionPlan)
    assert_type(plan.layers[0], hw.LayerPlan)
    assert_type(plan.layers[0].mlp, hw.WeightFormat | None)
    return plan


def searched(model: str, target: float) -> hw.Study:
    """A study of the bundled device."""
    denoiser, device = hw.load_denoiser(model), hw.load_device("cpu")
    space = hw.SearchSpace.of(denoiser, device)
    study = hw.search(denoiser, space, device, target_ratio=target, trials=10)
    assert_type(study, hw.Study)
    assert_type(study.best_plan, hw.CompressionPlan)
    return hw.load_study(study.name)


def failed_checks(model: str, plan: hw.CompressionPlan, out: Path) -> list[str]:
    """What an export does not hold of what it says of itself."""
    bundle = hw.export(hw.load_denoiser(model), plan, out)
    return [check.name for check in hw.verify(bundle.path) if not check.passed]


def answer(folder: Path, question: str) -> str:
    """What a bundle writes."""
    text = hw.Runtime(folder, threads=1).generate(question)
    assert_type(text, str)
    assert_type(hw.__version__, str)
    return text
