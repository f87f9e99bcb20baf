"""What a study is about, by name and by content; something else under its name is refused.

Names say what was asked for (`IDENTITY`): a model, a device, a space. Content says what that was:
digests of weights, model settings, calibration questions and device figures, and in words the loss
and the code. A model's folder may be moved; what lies in it may not change under a study.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from pydantic import BaseModel

from hwsearch._version import __version__
from hwsearch.denoisers.caching.digest import (
    questions_digest,
    settings_digest,
    text_digest,
    weights_digest,
)
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError, StudyError
from hwsearch.latency.devices.device import Calibration, Device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.records.record import StudyRecord, update_record
from hwsearch.study.storage.databases import StudyLocation, open_storage, storage_errors

if TYPE_CHECKING:
    from hwsearch.study.objective import Objective

#: User attributes of an Optuna study that say what it searched.
IDENTITY = ("model", "device", "space", "workload", "decoding", "loss", "objective")

#: Names that may change while the content stays: folders are moved.
MOVABLE = ("model", "device_folder")

#: What the content is called wherever it is kept.
CONTENT = "content"

#: Raised when a loss comes to mean something else, so that old and new ones are not mixed.
LOSS_SCHEME = 2

#: What a difference in each part of the content is called.
CALLED = {
    "weights": "the weights of the model",
    "settings": "the settings of the model (sizes, special tokens, template, vocabulary, decoding)",
    "questions": "the calibration questions",
    "problems": "the test problems",
    "task": "the task",
    "device figures": "the device figures (table, roofline, calibration, threads or runtime)",
    "loss": "the loss",
    "code": "the code version",
}

#: Parts that are kept as they read; the others are digests.
IN_WORDS = ("task", "loss", "code")

Content = Mapping[str, str]


def content_of(
    denoiser: Denoiser,
    device: Device,
    calibration: Calibration | None,
    questions: Sequence[Question],
    loss: str,
    task: str,
) -> dict[str, str]:
    """What a study is about, part by part as in `CALLED`.

    Args:
        denoiser: the uncompressed model.
        device: where plans will run.
        calibration: what the device's sums are made times with.
        questions: the calibration questions.
        loss: name of the loss.
        task: in words, what is asked.
    """
    return {
        "weights": weights_digest(denoiser.network),
        "settings": settings_digest(denoiser),
        "questions": questions_digest(denoiser, questions),
        "device figures": figures_digest(device, calibration),
        "task": task,
        "loss": f"{loss} (scheme {LOSS_SCHEME})",
        "code": f"hwsearch {__version__}",
    }


def figures_digest(device: Device, calibration: Calibration | None) -> str:
    """Digest of what predicted times come from: not of words, nor of other models' calibrations."""
    info, costs = device.info, device.costs
    if isinstance(costs, LatencyTable):
        figures = "\n".join(sorted(f"{key} {samples}" for key, samples in costs.samples.items()))
    elif isinstance(costs, BaseModel):
        figures = costs.model_dump_json()
    else:
        figures = type(costs).__qualname__
    lines: list[object] = []
    if calibration is not None:
        lines += [line and line.model_dump() for line in calibration.lines]
        if calibration.costs is not None:
            lines.append(calibration.costs.model_dump())
    return text_digest(info.runtime, str(info.threads), info.provenance.value, figures, repr(lines))


def checked_content(kept: object, where: object) -> Content | None:
    """What something that was kept says it is about; None where it does not say.

    Raises:
        InputError: hwsearch did not write that.
    """
    if kept is None:
        return None
    if isinstance(kept, dict) and all(isinstance(one, str) for one in (*kept, *kept.values())):
        return kept
    raise InputError(
        f"{where}: {CONTENT} must be texts by name, as hwsearch writes it; choose another folder"
    )


def differences(known: Content, now: Content, parts: Sequence[str] = tuple(CALLED)) -> list[str]:
    """What differs, by the names of `CALLED`; parts that either does not tell do not."""
    found = []
    for part in parts:
        before, after = known.get(part), now.get(part)
        if before is not None and after is not None and before != after:
            words = f" ({before}, now {after})" if part in IN_WORDS else ""
            found.append(f"{CALLED[part]}{words}")
    return found


def check_content(study: optuna.Study, now: Content, parts: Sequence[str] = tuple(CALLED)) -> None:
    """See that a study is about this content; one that does not say gets a warning.

    Raises:
        InputError: it is not; the message names what differs.
    """
    record = StudyRecord.of(study)
    found = differences(record.content or {}, now, parts)
    if found:
        raise InputError(
            f"study {study.study_name} was searched with something else; what differs: "
            f"{'; '.join(found)}; go back to that, or give another --name"
        )
    since = record.content_since
    if record.content is None or since:
        trials = f"its first {since} trials are" if since else "it is"
        logging.getLogger(__name__).warning(
            f"warning: study {study.study_name} was begun by an older hwsearch and does not say of "
            f"which weights, questions and device figures {trials}; they are taken to be these"
        )


def check_known(name: str, location: StudyLocation, now: Content) -> None:
    """See, before anything is computed, that a study of this name is about this content.

    Raises:
        InputError: there is one, and it is about something else.
        StudyError: the storage cannot be used.
    """
    study = _begun(name, location)
    if study is not None and StudyRecord.of(study).content is not None:  # else `claim` warns
        check_content(study, now)


def known_space(name: str, location: StudyLocation) -> SearchSpace | None:
    """The space of a study that exists; None where there is none of this name, or it does not say.

    Raises:
        StudyError: the storage cannot be used.
    """
    study = _begun(name, location)
    try:
        return None if study is None else StudyRecord.of(study).search_space
    except StudyError:
        return None  # `claim` says what it has instead


def _begun(name: str, location: StudyLocation) -> optuna.Study | None:
    location.check()
    if location.path is not None and not location.path.exists():
        return None
    opened = open_storage(location)
    with storage_errors(location):
        if name not in optuna.get_all_study_names(opened):
            return None
        return optuna.load_study(study_name=name, storage=opened)


def identity(objective: Objective) -> dict[str, str]:
    """What a study is about by name: two studies of one name must agree in all but `MOVABLE`."""
    workload = objective.predictor.workload
    lengths = {"prompt_length": workload.prompt_length}
    if workload.suffix_length:  # left out elsewhere, as it was before there were suffixes
        lengths["suffix_length"] = workload.suffix_length
    found = {
        "model": objective.denoiser.name,
        "device": objective.predictor.device.info.name,
        "space": objective.space.model_dump_json(),
        "workload": json.dumps(lengths),
        "decoding": workload.decoding.model_dump_json(),
        "loss": objective.loss_function.name,
        "objective": objective.goal.objective.value,
        "device_folder": str(objective.predictor.device.folder),
    }
    if not objective.goal.objective.is_energy and objective.max_joules is None:
        return found
    return found | {"power": f"{objective.predictor.device.info.known_power.watts:g} W"}


def claim(
    study: optuna.Study, names: Mapping[str, str], content: Content, described: Mapping[str, Any]
) -> None:
    """Write what a study searches into it, or check that it still searches the same.

    Args:
        study: the study.
        names: what was asked for; see `identity`.
        content: what that is; see `content_of`.
        described: what a later run may change, such as the target.

    Raises:
        InputError: the study is about something else; the message names what differs.
    """
    known = StudyRecord.of(study)
    if known.content is not None:
        check_content(study, content)
    for key, value in names.items():
        before = getattr(known, key)
        moved = key in MOVABLE and known.content is not None
        if before is not None and before != value and not moved:
            raise InputError(
                f"study {study.study_name} was created with {key} {before}, not {value}; "
                f"give another --name or the old {key}"
            )
        update_record(study, **{key: value})
    if known.content is None:
        if trials := len(study.get_trials(deepcopy=False)):
            update_record(study, content_since=trials)
            check_content(study, content)
        update_record(study, content=dict(content))
    update_record(study, **described)
