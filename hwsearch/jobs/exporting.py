"""Any plan of a model, or of a study, as a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Unpack

from hwsearch.bundle import Exporter
from hwsearch.bundle.partial import check_room_for
from hwsearch.compression import (
    CompressedDenoiser,
    WeightBank,
    check_fits,
    compress,
    foreseeing,
    own_calibration,
)
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_pass, check_weights
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError
from hwsearch.files import refuse_existing
from hwsearch.jobs.bundles.other_programs import OTHER_PROGRAMS
from hwsearch.jobs.finishing import Finisher, scored
from hwsearch.latency.devices.device import Device, load_device
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Bundle, Figures
from hwsearch.runtime.providers import CPU, provider_of
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.study import Study, load_study
from hwsearch.study.preparation import SINK_QUESTIONS, reopen
from hwsearch.study.records.outcome import WINNER, keep_outcomes
from hwsearch.tasks.choice import REFERENCE_QUESTIONS, TaskChoice, TaskOptions


def export(
    denoiser: Denoiser,
    plan: CompressionPlan,
    out: Path | str,
    *,
    sinks: SinkProfile | None = None,
    runtime: str = CPU.name,
    overwrite: bool = False,
    references: int = REFERENCE_QUESTIONS,
    **changes: Unpack[TaskOptions],
) -> Bundle:
    """Export any plan of a model as a bundle, neither timed nor scored.

    Args:
        denoiser: the uncompressed model.
        plan: what to do to each layer.
        out: the bundle's folder.
        sinks: turns thresholds into kept shares; None calibrates on the task's questions if any
            layer has a threshold below 1. Weights are pruned, and rounded by calibration, by those
            questions, too.
        runtime: what its graphs are written for and will be run by, such as ``onnxruntime-openvino``;
            see `hwsearch.runtime.providers`.
        overwrite: replace a folder that is there.
        references: validation questions that torch answers now, for `hwsearch.verify` to ask again; a
            large model takes minutes for one.
        changes: the task; see `hwsearch.tasks.choice.TaskChoice`.

    Raises:
        PlanError: the plan does not fit the model.
        CheckpointError: the model's weights or logits are no finite numbers.
        InputError: `out` exists and `overwrite` is false.
    """
    check_fits(plan, denoiser)
    provider = provider_of(runtime)
    refuse_existing(Path(out), overwrite)  # before anything is calibrated
    check_room_for(Path(out), denoiser.plan_bytes(plan))
    check_weights(denoiser)
    task = TaskChoice(**changes)
    denoiser, asked = task.asking(denoiser), task.reference_questions()[:references]
    if not asked:
        raise InputError(
            f"references must be at least 1, or nothing could be verified; got {references}"
        )
    check_pass(denoiser, asked[0])
    kept = KeptShares.keeping_all(len(plan.layers))
    if any(layer.sink_threshold < 1.0 for layer in plan.layers):
        kept = (
            sinks or calibrate_sinks(denoiser, task.calibration_questions(SINK_QUESTIONS))
        ).kept_shares(plan)
    compressed = _foreseeing(_compressed(denoiser, plan, task), kept, task)
    figures = Figures(task=task.model_dump(exclude_defaults=True))
    return Exporter(denoiser).export(
        compressed,
        kept,
        out,
        questions=asked,
        figures=figures,
        provider=provider,
        overwrite=overwrite,
    )


def _compressed(denoiser: Denoiser, plan: CompressionPlan, task: TaskChoice) -> CompressedDenoiser:
    """The plan applied, by calibration on the task's questions where it needs any."""
    questions = task.calibration_questions() if plan.needs_calibration else []
    weights = own_calibration(denoiser, questions) if questions else None
    return compress(denoiser, plan, WeightBank(denoiser, weights))


def _foreseeing(
    compressed: CompressedDenoiser, kept: KeptShares, task: TaskChoice
) -> CompressedDenoiser:
    """The same with the forecast that its decoding asks for, fitted on what a search would fit it on."""
    if compressed.decoding.forecast is None:
        return compressed
    return foreseeing(compressed, kept, task.fitter(compressed.denoiser))


def written_of_model(
    to: str,
    model: str,
    plan: CompressionPlan,
    out: Path,
    options: ModelOptions | None = None,
    *,
    overwrite: bool = False,
    **changes: Unpack[TaskOptions],
) -> Path:
    """Load a model, and write any plan of it for other programs.

    Args:
        to: one of `OTHER_PROGRAMS`.

    Other arguments are those of `export_model`.
    """
    task = TaskChoice(**changes)
    task.check()  # before a model is read
    refuse_existing(out, overwrite)
    denoiser = task.asking((options or ModelOptions()).load(model))
    check_fits(plan, denoiser)
    check_weights(denoiser)
    return OTHER_PROGRAMS[to].write(_compressed(denoiser, plan, task), out, overwrite=overwrite)


def written_of_study(
    to: str,
    study_name: str,
    number: int | None,
    out: Path,
    *,
    storage: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a plan of a study for other programs.

    Args:
        to: one of `OTHER_PROGRAMS`.

    Other arguments are those of `export_from_study`.
    """
    refuse_existing(out, overwrite)
    study = load_study(study_name, storage)
    plan, denoiser, device = _loaded(study, number)
    objective = reopen(study, denoiser, device)
    return OTHER_PROGRAMS[to].write(objective.workbench.compress(plan), out, overwrite=overwrite)


def _loaded(study: Study, number: int | None) -> tuple[CompressionPlan, Denoiser, Device]:
    """A study's plan, the best if no trial is named, with its model and its device."""
    plan = study.best_plan if number is None else study.plan(number)
    record = study.record
    denoiser = record.loading.load(record.kept("model"))
    return plan, denoiser, load_device(record.kept("device_folder"))


def export_model(
    model: str,
    plan: CompressionPlan,
    out: Path | str,
    options: ModelOptions | None = None,
    *,
    runtime: str = CPU.name,
    overwrite: bool = False,
    references: int = REFERENCE_QUESTIONS,
    **changes: Unpack[TaskOptions],
) -> Bundle:
    """Load a model, and export any plan of it: see `export`.

    Args:
        model: a bundled name, a folder, a GGUF file, a hub id, or ``package.module:function``.
        plan: what to do to each layer.
        out: the bundle's folder.
        options: how the model is loaded.
        runtime: what its graphs are written for.
        overwrite: replace a folder that is there.
        references: validation questions that torch answers now.
        changes: the task.
    """
    TaskChoice(**changes).check()  # before a model is read
    provider_of(runtime)
    refuse_existing(Path(out), overwrite)
    denoiser = (options or ModelOptions()).load(model)
    return export(
        denoiser,
        plan,
        out,
        runtime=runtime,
        overwrite=overwrite,
        references=references,
        **changes,
    )


def export_from_study(
    study_name: str,
    number: int | None,
    out: Path,
    *,
    storage: str | None = None,
    overwrite: bool = False,
    limit: int = 200,
) -> Bundle:
    """Export a plan of a study, timed on this machine and scored; neither if its runtime runs elsewhere.

    Args:
        study_name: name of the study, or the path of its SQLite file.
        number: a trial; None takes the best.
        out: the bundle's folder.
        storage: Optuna storage.
        overwrite: replace a folder that is there.
        limit: test problems to score.
    """
    refuse_existing(out, overwrite)  # before a model is read
    study = load_study(study_name, storage)
    plan, denoiser, device = _loaded(study, number)
    check_room_for(out, denoiser.plan_bytes(plan))
    objective = reopen(study, denoiser, device)
    finisher = Finisher(objective, device.info.threads)
    bundle = finisher.export(plan, out, overwrite)
    if provider_of(bundle.manifest.runtime).elsewhere:
        return bundle
    measured = finisher.measure({bundle.path.name.replace("-", "_"): bundle})
    found = scored(finisher, plan, bundle, measured, study.target_ms, limit)
    name = WINNER if number is None else f"trial {number}"
    command = f"hwsearch export {shlex.quote(study_name)} -o {shlex.quote(str(out))}"
    if number is not None:
        command += f" --plan {number}"
    title = "chosen plan" if number is None else name
    keep_outcomes(study.optuna, [found.outcome(name, title, study.target_ms, command)])
    return found.bundle
