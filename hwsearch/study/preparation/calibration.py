"""The workload that a task's calibration questions stand for."""

from __future__ import annotations

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.latency.operators import Workload
from hwsearch.tasks.choice import TaskChoice

#: The first calibration questions calibrate the sinks, which takes a full pass a token: one answer is
#: worth hundreds of positions.
SINK_QUESTIONS = 16

#: And the first of them say how long a prompt is: shipped tables were timed at that length.
MEDIAN_OF = 32


def default_workload(denoiser: Denoiser, task: TaskChoice | None = None) -> Workload:
    """A task's median prompt, answered as the model's makers decode it.

    Args:
        denoiser: the model.
        task: whose calibration questions; None is the default task. How long a prompt is does not
            depend on how few questions are calibrated on.
    """
    task = task or TaskChoice()
    asked = task.asking(denoiser)
    lengths = sorted(len(asked.prompt(question)) for question in task.sample(MEDIAN_OF))
    return Workload(lengths[len(lengths) // 2], denoiser.decoding)
