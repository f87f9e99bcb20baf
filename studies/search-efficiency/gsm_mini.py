"""The real problem behind the enumerated and the large study: gsm-mini on a table that is kept here.

The loss is the KL divergence on frozen states of a few calibration questions of one prompt length,
so that one evaluation takes a fraction of a second; the latency is the table's prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.device import load_device
from hwsearch.sinks import calibrate_sinks
from hwsearch.study import Goal, Objective, SearchSpace, prepare
from hwsearch.study.choices.linear_groups import TOGETHER
from hwsearch.study.preparation import default_workload
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.kl import FrozenStates

#: The table whose milliseconds are those of results/. It stays, so that problems stay comparable while
#: the table that is shipped is timed anew.
DEVICE = Path(__file__).parent / "device"

#: Questions behind the sink profile that the losses in results/ were computed with.
SINK_QUESTIONS = 32


def make_objective(questions: int, prompt_length: int = 24) -> Objective:
    """Loss and latency of gsm-mini's plans, the loss on the first `questions` of one length."""
    denoiser, device = load_denoiser("gsm-mini"), load_device(DEVICE)
    asked = TaskChoice().calibration_questions()
    alike = [q for q in asked if len(denoiser.prompt(q)) == prompt_length][:questions]
    states = FrozenStates.record(denoiser, alike, per_question=denoiser.decoding.refreshes)
    # what is in results/ was found as the makers decode
    space = SearchSpace.of(denoiser, device, decodings=(None,), linear_groups=TOGETHER)
    workload = default_workload(denoiser)
    objective = prepare(denoiser, space, device, workload, Goal(target_ratio=1.0), asked, states)
    return replace(objective, sinks=calibrate_sinks(denoiser, asked[:SINK_QUESTIONS]))


def overridden(objective: Objective, **methods: Callable[..., Any]) -> Objective:
    """The objective with some methods replaced, such as losses that are looked up."""
    fields = {name: getattr(objective, name) for name in objective.__dataclass_fields__}
    return type("Overridden", (Objective,), methods)(**fields)
