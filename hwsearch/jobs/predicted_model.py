"""What is predicted: a model with its sizes, workload and kept shares, with weights or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.denoisers.caching.digest import geometry_digest
from hwsearch.denoisers.caching.documents import remembered_document
from hwsearch.denoisers.described import DescribedModel
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.config import read_config
from hwsearch.denoisers.loading.model_config import autoregressive
from hwsearch.denoisers.loading.model_files import find_folder
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError, PlanError
from hwsearch.latency.devices.device import Device
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study.preparation import SINK_QUESTIONS, default_workload
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.sizes import DEFAULT_PROBLEMS
from hwsearch.tasks.problem import Problem

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.sinks import SinkProfile

#: Tokens of the prompt where only a model's config is known.
PROMPT_LENGTH = 128


@dataclass(frozen=True)
class Subject:
    """A model as predictions see it.

    Attributes:
        name: the model's name, by which devices know their calibrations.
        geometry: its sizes.
        decoding: how its makers decode it.
        prompt_length: tokens of the prompt.
        profile: makes the sink profile when a plan first needs it; None where there are no weights.
        count: counts a plan's passes by answering calibration questions; None where there are no weights.
        suffix_length: tokens given behind the blank.
    """

    name: str
    geometry: Geometry
    decoding: Decoding
    prompt_length: int
    profile: Callable[[], SinkProfile] | None
    count: Callable[[KeptPlan], PassCounts] | None = None
    suffix_length: int = 0

    def keep(self, plan: CompressionPlan) -> KeptPlan:
        """A plan with what its thresholds keep.

        Raises:
            PlanError: the plan has another number of layers.
            InputError: a layer has a sink threshold below 1, and there are no weights to say
                which share that keeps.
        """
        if len(plan.layers) != self.geometry.num_layers:
            raise PlanError(
                f"the plan has {len(plan.layers)} layers but model {self.name!r} has "
                f"{self.geometry.num_layers}"
            )
        thresholds = [layer.sink_threshold for layer in plan.layers]
        if min(thresholds) == 1.0:
            return KeptPlan.keeping_all(plan)
        if self.profile is None:
            raise InputError(
                f"layer {thresholds.index(min(thresholds))}: what share a sink_threshold of "
                f"{min(thresholds)} keeps follows from weights, and {self.name} is a config "
                f"alone; give the model's folder, or thresholds of 1.0"
            )
        return self.profile().keep(plan)

    def predictor_for(self, device: Device, kept: KeptPlan) -> Predictor:
        """Predicts a plan on a device, by the passes that its generations make.

        Raises:
            InputError: they depend on the text, and there are no weights to write any with.
        """
        decoding = kept.plan.decoding or self.decoding
        predictor = self.predictor(device)
        if not decoding.depends_on_text:
            return predictor.given(PassCounts.scheduled(decoding))
        if self.count is None:
            raise InputError(
                f"how many passes {decoding.words!r} takes depends on the text, and {self.name} is a config "
                f"alone; give the model's folder, or a decoding by a schedule"
            )
        predictor.predict(kept)  # what has no price is told before anything is answered
        return predictor.given(self.count(kept))

    def workload(self, decoding: Decoding | None = None) -> Workload:
        """What it generates; None decodes as its makers do."""
        decoding = decoding or self.decoding
        return Workload(self.prompt_length, decoding, suffix_length=self.suffix_length)

    def predictor(self, device: Device, decoding: Decoding | None = None) -> Predictor:
        """Predicts this model on a device, calibrated where the device has run it whole."""
        workload = self.workload(decoding)
        known = device.info.calibration(self.name, geometry_digest(self.geometry))
        return Predictor(device, self.geometry, workload, known)


def config_name(model: str) -> str:
    """A model's name without the way to it: that of the folder of a ``config.json``."""
    path = Path(model)
    if path.suffix != ".json":
        return model
    return path.resolve().parent.name if path.name == "config.json" else path.stem


def subject_of(
    model: str,
    prompt_length: int | None = None,
    task: TaskChoice | None = None,
    options: ModelOptions | None = None,
    suffix_length: int = 0,
) -> Subject:
    """A model by name or folder, or the sizes in a ``config.json`` alone.

    Args:
        model: a bundled name, a folder, a GGUF file, a hub id, or the path of a ``config.json``.
        prompt_length: tokens of the prompt; None takes the task's medians, or `PROMPT_LENGTH` for
            a config.
        task: what is asked; None is the default task.
        options: how the model is loaded.
        suffix_length: tokens behind the blank, where the prompt's length is given.

    Raises:
        UnknownNameError: nothing goes by that name.
        CheckpointError: it cannot be read.
    """
    path = Path(model)
    task, options = task or TaskChoice(), options or ModelOptions()
    if path.suffix == ".json" and path.is_file():
        config = autoregressive(read_config(path)) if options.causal else read_config(path)
        length = prompt_length or PROMPT_LENGTH
        return Subject(config_name(model), config.geometry, config.decoding, length, None)
    task.check()  # before a model is read
    described = options.described(model)
    weights = _Weights(model, task, options, described)
    known: Denoiser | DescribedModel = (
        weights.denoiser if described is None else task.asking(described)
    )
    if not prompt_length:
        usual = default_workload(known, task)
        prompt_length, suffix_length = usual.prompt_length, usual.suffix_length
    sizes = (known.name, known.geometry, known.decoding)
    return Subject(*sizes, prompt_length, weights.profile, weights.count, suffix_length)


@dataclass(frozen=True)
class _Weights:
    """What only a model with its weights can tell; they are read when that is first asked."""

    model: str
    task: TaskChoice
    options: ModelOptions
    described: DescribedModel | None

    @cached_property
    def denoiser(self) -> Denoiser:
        """The model, asked as the task asks."""
        return self.task.asking(self.options.load(self.model))

    def profile(self) -> SinkProfile:
        """Its sink profile."""
        return self._profile

    @cached_property
    def _profile(self) -> SinkProfile:
        from hwsearch.sinks import calibrate_sinks

        return calibrate_sinks(self.denoiser, self.task.calibration_questions(SINK_QUESTIONS))

    def count(self, kept: KeptPlan) -> PassCounts:
        """Passes of a plan, counted, or found where they were counted before.

        Those of forecasts are counted anew: they depend on questions beyond those that are asked.
        """
        decoding = kept.plan.decoding
        if self.described is None or decoding is None or decoding.forecast is not None:
            return count_passes(self.denoiser, kept, self.task)
        return remembered_document(
            "passes",
            find_folder(self.model),
            self._parts(kept),
            partial(PassCounts.read, decoding),
            lambda: count_passes(self.denoiser, kept, self.task).document(),
        )

    def _parts(self, kept: KeptPlan) -> list[str]:
        """What a plan's passes depend on beside the model's files."""
        said = (self.task.judged, self.options.of_model, kept.plan)
        asked = [repr(question) for question in self.task.calibration_questions()]
        return [*(one.model_dump_json() for one in said), repr(kept.kept), *asked]


def count_passes(denoiser: Denoiser, kept: KeptPlan, task: TaskChoice | None = None) -> PassCounts:
    """Passes of a plan's generations, counted by answering calibration questions in torch.

    Args:
        denoiser: the uncompressed model.
        kept: the plan, and what it keeps.
        task: whose calibration questions are asked; None takes the default task's.
    """
    from hwsearch.compression import WeightBank, compress, foreseeing, own_calibration
    from hwsearch.tasks.losses.pricing import DecodedProblems

    task = task or TaskChoice()
    questions = task.calibration_questions()
    calibrated = kept.plan.needs_calibration
    bank = WeightBank(denoiser, own_calibration(denoiser, questions) if calibrated else None)
    made = compress(denoiser, kept.plan, bank)
    if made.decoding.forecast is not None:
        made = foreseeing(made, kept.kept, task.fitter(denoiser))
    # as many as a search asks, so that both tell the same passes
    asked = [Problem.of(question) for question in questions[:DEFAULT_PROBLEMS]]
    problems = DecodedProblems(denoiser, asked)
    return problems.passes(problems.decoded(made.network, kept.kept, kept.plan.decoding))
