"""What a search is going to compute, how long that takes on this machine, and how much it holds meanwhile.

All is told from sizes, from how many questions are asked, and from a few products, or layers, that are
timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hwsearch.compression.noise_levels import TIMES
from hwsearch.compression.rounding.effort import MOST_ROWS, SLOWER, multiplications
from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.described import DescribedModel
from hwsearch.formats.catalog import format_of
from hwsearch.formats.integer_format import IntegerFormat
from hwsearch.plan import Decoding, WeightFormat
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.preparation.calibration import SINK_QUESTIONS, default_workload
from hwsearch.study.preparation.model_sizes import ModelSizes
from hwsearch.study.preparation.pass_time import seconds_a_pass
from hwsearch.study.sensitivities.effort import passes_needed
from hwsearch.study.settings.values import StudySettings
from hwsearch.tasks.losses.sizes import (
    ACTIVATION_BYTES,
    DEFAULT_PROBLEMS,
    MOST_KEPT,
    PER_QUESTION,
    WHOLE_VOCABULARY,
)

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.study.settings.file import StudySpec


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


def forecast(
    denoiser: Denoiser | DescribedModel, space: SearchSpace, settings: StudySettings
) -> Forecast:
    """What a search with these settings takes.

    Args:
        denoiser: the uncompressed model, with weights or without, asked as the task asks.
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


def forecast_spec(spec: StudySpec) -> Forecast:
    """What a search of a study would compute, how long that takes here, and what it holds.

    Nothing is searched, and no weight is read where the files say enough. Raises as
    `hwsearch.study.searching.run_spec` does.
    """
    from hwsearch.latency.devices.device import load_device

    spec.judged.check()  # before a model is read
    described = spec.described(spec.model)
    model = spec.load(spec.model) if described is None else described
    space = spec.space.offered(model, load_device(spec.device))
    return forecast(spec.judged.asking(model), space, spec)


@dataclass(frozen=True)
class _Work:
    denoiser: Denoiser | DescribedModel
    space: SearchSpace
    settings: StudySettings
    questions: int
    length: int

    @cached_property
    def sizes(self) -> ModelSizes:
        """The model's sizes."""
        return ModelSizes.of(self.denoiser)

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
            large = self.sizes.stays_stored
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
        sizes = self.sizes
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
        sizes, geometry, formats = self.sizes, self.denoiser.known_geometry, self.space.formats
        held = {}
        if sizes.stays_stored and geometry is not None:
            layer = parameters(geometry)
            held["one layer's weights as floats"] = 2 * 4 * (layer.attention + layer.mlp)
        else:
            held["weights"] = sizes.weight_bytes
            rounded = len([fmt for fmt in formats if fmt is not WeightFormat.FP32])
            held[f"weights rounded to {rounded} formats"] = rounded * sizes.linear_bytes
            held["layer outputs on frozen states"] = ACTIVATION_BYTES
        if geometry is not None and self.settings.loss == "kl" and not geometry.causal:
            vocab = geometry.vocab_size
            kept = 4 * vocab if vocab <= WHOLE_VOCABULARY else 8 * MOST_KEPT
            block = self.denoiser.decoding.block_length
            held["predictions on frozen states"] = 2 * self.questions * PER_QUESTION * block * kept
        return held


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
