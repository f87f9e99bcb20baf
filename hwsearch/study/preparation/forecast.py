"""What a search is going to compute, how long that takes on this machine, and how much it holds meanwhile.

All is told from sizes, from how many questions are asked, and from a few layers that are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch

from hwsearch.compression.pruning.calibration import TIMES
from hwsearch.compression.rounding.calibrated import MOST_ROWS
from hwsearch.compression.rounding.effort import SLOWER, multiplications
from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.large.lockstep import is_large, run_through
from hwsearch.denoisers.network import linear_sizes
from hwsearch.formats.catalog import format_of
from hwsearch.formats.integer_format import IntegerFormat
from hwsearch.plan import Decoding, WeightFormat
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.preparation.calibration import SINK_QUESTIONS, default_workload
from hwsearch.study.sensitivities.estimates import passes_needed
from hwsearch.study.settings.values import StudySettings
from hwsearch.tasks.losses.kl import ACTIVATION_BYTES, PER_QUESTION
from hwsearch.tasks.losses.pricing import DEFAULT_PROBLEMS
from hwsearch.tasks.losses.reference_logp import MOST_KEPT, WHOLE_VOCABULARY

#: Layers that are timed, sequences that go through them together, and how often.
LAYERS, BATCH, REPEATS = 2, 4, 3


@dataclass(frozen=True)
class Stage:
    """A piece of work.

    Attributes:
        name: what is done.
        passes: its size, in full passes over one sequence.
        at_most: whether less is likely: a text may end early, or be written in fewer passes.
    """

    name: str
    passes: float
    at_most: bool = False


@dataclass(frozen=True)
class Forecast:
    """What a search takes.

    Attributes:
        pass_s: seconds of one full pass over one sequence.
        before: what is done before the first trial.
        each_trial: what is done for each trial.
        trials: how many there shall be.
        after: what is done in the end.
        held: bytes by what they are for.
    """

    pass_s: float
    before: tuple[Stage, ...]
    each_trial: tuple[Stage, ...]
    trials: int
    after: tuple[Stage, ...]
    held: dict[str, int]

    def lines(self) -> Iterator[str]:
        """As lines of text."""
        yield f"one full pass over a sequence takes {_duration(self.pass_s)} on this machine, so about:"
        for stage in self.before:
            yield self._line(stage, 1, "")
        for stage in self.each_trial:
            yield self._line(stage, self.trials, f"{self.trials} × ")
        for stage in self.after:
            yield self._line(stage, 1, "")
        yield f"memory: about {_size(sum(self.held.values()))}"
        for name, size in self.held.items():
            yield f"  {name:34} {_size(size):>10}"
        yield "what was computed before for the same model and questions is read from disk instead"

    def _line(self, stage: Stage, times: int, often: str) -> str:
        passes = f"{often}{stage.passes:,.0f} passes"
        most = "at most " if stage.at_most else ""
        return (
            f"  {stage.name:34} {passes:>22}  {most}{_duration(self.pass_s * stage.passes * times)}"
        )


def forecast(denoiser: Denoiser, space: SearchSpace, settings: StudySettings) -> Forecast:
    """What a search with these settings takes.

    Args:
        denoiser: the uncompressed model, asked as the task asks.
        space: what may be chosen.
        settings: the study's.
    """
    questions = len(settings.judged.calibration_problems())
    length = (
        default_workload(denoiser, settings.judged).prompt_length + denoiser.decoding.gen_length
    )
    work = _Work(denoiser, space, settings, questions, length)
    return Forecast(
        seconds_a_pass(denoiser, length),
        tuple(stage for stage in work.before() if stage.passes),
        tuple(stage for stage in work.each_trial() if stage.passes),
        settings.trials,
        tuple(stage for stage in work.after() if stage.passes),
        work.held(),
    )


@dataclass(frozen=True)
class _Work:
    denoiser: Denoiser
    space: SearchSpace
    settings: StudySettings
    questions: int
    length: int

    def before(self) -> Iterator[Stage]:
        """Before the first trial."""
        loss, made = self.settings.loss, self.denoiser.decoding.scheduled()
        if self.denoiser.is_causal:
            yield Stage("reading solved problems", self.questions)
        elif loss in ("kl", "agreement"):
            yield Stage("recording states", self.questions * self._generation(made))
        if self.denoiser.is_cached and not self.denoiser.is_causal and not self.space.keeps_all:
            asked = min(SINK_QUESTIONS, self.questions)
            yield Stage("calibrating sinks", asked * made.steps)
        if self.space.needs_calibration and not self.denoiser.is_causal:
            yield Stage("answering for calibration", self.questions * self._generation(made))
        if self.space.rounding == "calibrated":
            yield Stage("rounding by calibration", self._rounding)
        texts = [one for one in self.space.decodings if one is not None and one.commit is not None]
        asked = min(DEFAULT_PROBLEMS, self.questions) * len(texts)
        yield Stage("counting passes of decodings", asked * self._generation(made), at_most=True)
        if self.settings.sensitivities and self.settings.sampler == "additive" and loss == "kl":
            formats = [fmt for fmt in self.space.formats if fmt is not WeightFormat.FP32]
            thresholds = [threshold for threshold in self.space.thresholds if threshold < 1.0]
            large = is_large(self.denoiser.network)
            passes = passes_needed(self._loss, len(formats), len(thresholds), large)
            yield Stage("estimating sensitivities", passes)

    def each_trial(self) -> Iterator[Stage]:
        """For each trial."""
        yield Stage("judging a plan", self._loss)
        if any(one is not None and one.commit is not None for one in self.space.decodings):
            asked = min(DEFAULT_PROBLEMS, self.questions)
            made = self.denoiser.decoding.scheduled()
            yield Stage("answering with it", asked * self._generation(made), at_most=True)

    def after(self) -> Iterator[Stage]:
        """In the end."""
        asked = self.settings.finalists * self.settings.problems
        made = self.denoiser.decoding.scheduled()
        yield Stage("scoring finalists", asked * self._generation(made), at_most=True)

    @property
    def _rounding(self) -> float:
        """Passes that take as long as rounding all linears to all formats."""
        sizes = linear_sizes(self.denoiser.network)
        levels = 1 if self.denoiser.is_causal else len(TIMES)
        rows = min(MOST_ROWS, self.questions * levels * self.length)
        integer = [f for f in self.space.formats if isinstance(format_of(f), IntegerFormat)]
        weights = sum(
            out * into for layer in sizes.layers for g in layer.values() for out, into in g
        )
        work = multiplications(sizes.layers, rows, len(integer))
        return SLOWER * work / (weights * self.length)

    @property
    def _loss(self) -> float:
        """Passes of one evaluation of the loss."""
        made = self.denoiser.decoding.scheduled()
        if self.denoiser.is_causal:
            return self.questions
        if self.settings.loss == "agreement":
            return self.questions * self._generation(made)
        cached = made.refresh_interval > 1
        states = self.questions * (PER_QUESTION if self.settings.loss == "kl" else 1)
        return states * (1 + cached * made.block_length / self.length)

    def _generation(self, decoding: Decoding) -> float:
        """Passes of one generation by a schedule."""
        steps = decoding.steps - decoding.refreshes
        return decoding.refreshes + steps * decoding.block_length / self.length

    def held(self) -> dict[str, int]:
        """Bytes in memory; what is mapped from files comes and goes and is not counted."""
        network, formats = self.denoiser.network, self.space.formats
        paths = network.linear_groups().paths()
        linears = sum(network.get_parameter(f"{path}.weight").numel() for path in paths)
        held = {}
        if is_large(network):
            layer = parameters(self.denoiser.geometry)
            held["one layer's weights as floats"] = 2 * 4 * (layer.attention + layer.mlp)
        else:
            held["weights"] = sum(p.numel() * p.element_size() for p in network.parameters())
            rounded = len([fmt for fmt in formats if fmt is not WeightFormat.FP32])
            itemsize = next(network.parameters()).element_size()
            held[f"weights rounded to {rounded} formats"] = rounded * linears * itemsize
            held["layer outputs on frozen states"] = ACTIVATION_BYTES
        if self.denoiser.is_cached and self.settings.loss == "kl" and not self.denoiser.is_causal:
            vocab = self.denoiser.geometry.vocab_size
            kept = 4 * vocab if vocab <= WHOLE_VOCABULARY else 8 * MOST_KEPT
            block = self.denoiser.decoding.block_length
            held["predictions on frozen states"] = 2 * self.questions * PER_QUESTION * block * kept
        return held


@torch.inference_mode()
def seconds_a_pass(denoiser: Denoiser, length: int) -> float:
    """Seconds of one full pass over one sequence, several together; told from a few layers.

    Args:
        denoiser: the model.
        length: positions of a sequence.
    """
    network, device = denoiser.network, denoiser.network.device
    tokens = torch.full((BATCH, length), denoiser.mask_token_id, device=device)
    if not denoiser.is_cached:
        return _timed(lambda: network(tokens)) / BATCH
    transformer, layers = denoiser.transformer, denoiser.num_layers
    if layers <= 2 * LAYERS:
        return _timed(lambda: run_through(transformer.refreshing(tokens))) / BATCH

    def some() -> None:
        running = transformer.refreshing(tokens)
        for _ in range(1 + LAYERS):  # the first stop is before the first layer
            next(running)
        running.close()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return _timed(some) / BATCH * layers / LAYERS


def _timed(run: Callable[[], object]) -> float:
    run()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return median(found)


def _duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> [_duration(seconds) for seconds in (0.0123, 4.2, 90, 4000, 500_000)]
    ['0.012 s', '4.2 s', '1.5 min', '1.1 h', '5.8 days']
    """
    for unit, name in ((86_400 * 2, "days"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / (86_400 if name == 'days' else unit):.1f} {name}"
    return f"{seconds:.2g} s"


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
