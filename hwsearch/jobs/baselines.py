"""Every pruning method side by side: accuracy on the same problems, KL, and measured speed.

Rows are kept as they finish, so a run that was cut off goes on, and parts of a run may be shared
out to several processes that write to one folder.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hwsearch._version import __version__
from hwsearch.bundle.exporter import Exporter, check_exportable
from hwsearch.compression import WeightBank, WeightCalibration, compress, noisy_passes
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.digest import questions_digest, settings_digest, weights_digest
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_pass, check_weights
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.files import FileKind, parse_json, read_json, read_text
from hwsearch.files.kinds import MIB
from hwsearch.files.refusals import quoted
from hwsearch.files.whole_files import whole_files
from hwsearch.latency.timing.bundles import time_backends
from hwsearch.plan import CachePolicy, CompressionPlan
from hwsearch.progress import each, shown
from hwsearch.report.baselines import METHODS, BaselineRow, Method, write_baselines
from hwsearch.runtime import OnnxBackend
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.study.preparation import default_workload
from hwsearch.study.records.identity import CONTENT, checked_content, differences
from hwsearch.tasks.choice import QUESTIONS, TaskChoice
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.tasks.losses.teacher_forcing import answered

#: Shares that are pruned and answered for, and those that only the KL is measured at.
SHARES, SWEEP = (0.3, 0.5), (0.1, 0.2, 0.4, 0.6, 0.7)

ROWS_FILE, SPEED_FILE, RUN_FILE = "rows.jsonl", "speed.json", "run.json"


#: A file of a folder of baselines.
BASELINES_FILE = FileKind("file of baselines", 64 * MIB, fix="choose another folder")


@dataclass(frozen=True)
class Settings:
    """What makes rows comparable: rows of other settings are not mixed.

    Attributes:
        model: name of the model.
        limit: test problems of each row.
        seed: of the problems.
        calibration: problems behind activations, sink profile and KL.
        task: what differs of the default `hwsearch.tasks.choice.TaskChoice`.
        options: how the model is loaded, where that is said; see
            `hwsearch.denoisers.loading.options.ModelOptions`.
    """

    model: str
    limit: int = 500
    seed: int = 0
    calibration: int = 64
    task: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task_choice(self) -> TaskChoice:
        """What is asked."""
        return TaskChoice(**self.task)


@dataclass(frozen=True)
class Job:
    """One row to measure: a method at a share, answered or by KL alone."""

    method: Method
    share: float
    problems: int

    @property
    def key(self) -> str:
        """What a finished row is known by."""
        return f"{self.method.family}/{self.method.name}/{self.share}/{self.problems}"


@dataclass(frozen=True)
class RowSelection:
    """Which rows to measure.

    Attributes:
        families: kinds of pruning.
        methods: names of methods; none is all.
        shares: pruned shares that test problems are answered at.
        sweep: pruned shares at which only the KL is measured.
        part: ``(2, 3)`` measures each third row, beginning with the second; only part 1 times bundles.
    """

    families: Sequence[str] = ("cache", "structured", "unstructured")
    methods: Sequence[str] = ()
    shares: Sequence[float] = SHARES
    sweep: Sequence[float] = SWEEP
    part: tuple[int, int] = (1, 1)


def run_baselines(
    settings: Settings,
    out: Path,
    rows: RowSelection | None = None,
    *,
    rounds: int = 15,
) -> list[BaselineRow]:
    """Measure what `out` does not hold yet, and write its table, picture and CSV.

    Args:
        settings: what every row shares.
        out: the folder.
        rows: which rows; None takes all.
        rounds: rounds of timing.

    Raises:
        InputError: `out` holds rows of other settings, contents or of another hwsearch; a share is not
            above 0 and below 1; or no bundle to time can be made of the model.
        UnknownNameError: no family or method goes by that name.
    """
    asked = rows or RowSelection()
    jobs = plan_jobs(asked.families, asked.methods, asked.shares, asked.sweep, settings.limit)
    bench = Bench(settings)
    index, parts = asked.part
    is_timed = index == 1 and not (out / SPEED_FILE).exists()
    if is_timed:  # or it would be refused after hours of answers
        check_exportable(bench.denoiser)
    _claim(out, settings, bench)
    finished = read_rows(out)
    mine = [job for job in jobs[index - 1 :: parts] if job.key not in finished]
    for job in each(mine, f"measuring {len(mine)} rows", len(mine)):
        row = bench.measure(job)
        # the line break comes first: the line before may have been cut off
        with (out / ROWS_FILE).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"key": job.key, **asdict(row)}))
    if is_timed:
        speeds = bench.speeds([job for job in jobs if job.problems], rounds)
        with whole_files(out) as fresh:
            text = json.dumps(speeds, indent=2) + "\n"
            (fresh / SPEED_FILE).write_text(text, encoding="utf-8")
    return write_table(out)


def write_table(out: Path) -> list[BaselineRow]:
    """The table, picture and CSV of all rows in a folder."""
    speeds = _object_of(out / SPEED_FILE)
    return write_baselines([row.timed(speeds) for row in read_rows(out).values()], out)


def plan_jobs(
    families: Sequence[str],
    methods: Sequence[str],
    shares: Sequence[float],
    sweep: Sequence[float],
    limit: int,
) -> list[Job]:
    """Every row of a run; the unpruned model first."""
    known = {method.family for method in METHODS} - {"none"}
    names = {method.name for method in METHODS}
    for family in families:
        if family not in known:
            raise UnknownNameError("family", family, known)
    for name in methods:
        if name not in names:
            raise UnknownNameError("method", name, names)
    for share in (*shares, *sweep):
        if not 0.0 < share < 1.0:
            raise InputError(f"a pruned share must be above 0 and below 1; got {share}")
    chosen = [m for m in METHODS if m.family in families and (not methods or m.name in methods)]
    dense = next(method for method in METHODS if method.family == "none")
    answered_for = [Job(m, s, limit) for s in shares for m in chosen if m.at(s)]
    swept = [Job(m, s, 0) for s in sweep for m in chosen if m.at(s)]
    return [Job(dense, 0.0, limit), *answered_for, *swept]


def read_rows(out: Path) -> dict[str, BaselineRow]:
    """Finished rows of a folder by their key; a line that was cut off is measured again."""
    rows, path = {}, out / ROWS_FILE
    there = path.exists() or path.is_symlink()
    for line in read_text(path, BASELINES_FILE).split("\n") if there else ():
        try:
            record = parse_json(line, path, BASELINES_FILE)
        except InputError:
            continue
        try:
            key = record.pop("key")
            rows[key] = TypeAdapter(BaselineRow).validate_json(json.dumps(record), strict=True)
        except (ValidationError, AttributeError, KeyError, TypeError) as error:
            raise BASELINES_FILE.refuse(path, f"no row of baselines: {quoted(error)}") from error
    return rows


def _claim(out: Path, settings: Settings, bench: Bench) -> None:
    """Note what a folder's rows are of, or see that they are of this."""
    out.mkdir(parents=True, exist_ok=True)
    path, mine = out / RUN_FILE, asdict(settings)
    there = _read_run(path)
    known = checked_content(there.pop(CONTENT, None), path)
    movable = ("model",) if known else ()  # what is known by content may lie elsewhere
    if there and _without(there, movable) != _without(mine, movable):
        raise InputError(f"{out} holds rows of other settings ({there}); choose another folder")
    content = bench.content
    changed = differences(known or {}, content)
    if changed:
        raise InputError(
            f"{out} holds rows of something else; what differs: {'; '.join(changed)}; "
            "choose another folder"
        )
    if there and known is None:
        logging.getLogger(__name__).warning(
            f"warning: {out} was begun by an older hwsearch and does not say of which weights and "
            "problems its rows are; they are taken to be these"
        )
    with whole_files(out) as fresh:  # parts of a run may read it meanwhile
        (fresh / RUN_FILE).write_text(json.dumps({**mine, CONTENT: content}) + "\n", "utf-8")


def _read_run(path: Path) -> dict[str, Any]:
    """What `RUN_FILE` says; nothing where there is none. Raises `InputError` if it is damaged."""
    # earlier runs knew one task and one way of loading
    return {"task": {}, "options": {}, **found} if (found := _object_of(path)) else {}


def _object_of(path: Path) -> dict[str, Any]:
    """A JSON object of the folder; an empty one where there is no file."""
    there = path.exists() or path.is_symlink()
    found = read_json(path, BASELINES_FILE) if there else {}
    if not isinstance(found, dict):
        raise BASELINES_FILE.refuse(path, "it must hold an object")
    return found


def _without(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


class Bench:
    """A model and all that its rows share, each made when first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def measure(self, job: Job) -> BaselineRow:
        """One finished row."""
        compressed, kept = self.apply(job)
        correct: tuple[bool, ...] = ()
        if job.problems:
            found = self.settings.task_choice.score(
                backend_of(compressed.network, kept),
                self.denoiser,
                "test",
                job.problems,
                seed=self.settings.seed,
            )
            correct = found.score.correct
        return BaselineRow(
            family=job.method.family,
            method=job.method.name,
            share=job.share,
            correct="".join("01"[solved] for solved in correct),
            kl=self.states.loss(compressed.network, kept),
            size_bytes=stored_bytes(compressed),
        )

    def apply(self, job: Job) -> tuple[CompressedDenoiser, KeptShares]:
        """The model as a method prunes it."""
        denoiser, method = self.denoiser, job.method
        layers = denoiser.num_layers
        shares, policy = (1.0,) * layers, CachePolicy()
        layer: dict[str, Any] = {}
        if method.rule is not None:
            shares = (1.0 - job.share,) * layers
            policy = CachePolicy(rule=method.rule, running=method.running)
        elif method.family == "structured":
            layer = self._sizes(job.share)
        elif method.family != "none":
            layer = {"sparsity": "2:4" if method.family == "2:4" else job.share}
        rest: dict[str, Any] = {"cache": policy, **layer}
        if method.pruning is not None:
            rest["pruning"] = method.pruning
        plan = CompressionPlan.uniform(layers, **rest)
        static = None if policy.running else self.profile.static[policy.rule]
        kept = KeptShares(shares, policy, denoiser.decoding.refreshes, static)
        return compress(denoiser, plan, self.bank if layer else None), kept

    def _sizes(self, share: float) -> dict[str, int]:
        """Heads and channels that stay where a share goes."""
        g, kept = self.denoiser.geometry, 1.0 - share
        heads, channels = g.heads_of(kept), g.channels_of(kept)
        return {
            "kept_heads": heads or g.num_kv_heads,
            "kept_channels": channels or g.intermediate_size,
        }

    def speeds(self, jobs: Sequence[Job], rounds: int) -> dict[str, float]:
        """Measured generation time of the unpruned export over that of each kind of pruned one.

        Methods whose graphs are alike are timed once; single zeroed weights change no graph.
        """
        kinds = {
            kind: job for job in jobs if (kind := job.method.speed_kind(job.share)) is not None
        }
        exporter = Exporter(self.denoiser)
        with tempfile.TemporaryDirectory() as folder:
            backends: dict[str, OnnxBackend] = {}
            for name in each(kinds, "exporting what is timed", len(kinds)):
                bundle = exporter.export(
                    *self.apply(kinds[name]), Path(folder) / str(len(backends))
                )
                backends[name] = OnnxBackend(bundle, threads=1)
            found = time_backends(
                backends,
                default_workload(self.denoiser, self.settings.task_choice),
                self.denoiser.mask_token_id,
                rounds=rounds,
                vocab_size=self.denoiser.geometry.vocab_size,
                progress=shown("timing them side by side"),
            )
        dense = found.generation_ms("none")
        return {kind: dense / found.generation_ms(kind) for kind in kinds}

    @cached_property
    def denoiser(self) -> Denoiser:
        """The unpruned model. Raises `CheckpointError` if its weights or logits are no numbers."""
        self.settings.task_choice.check()  # before a model is read
        loaded = ModelOptions(**self.settings.options).load(self.settings.model)
        denoiser = self.settings.task_choice.asking(loaded)
        check_weights(denoiser)
        check_pass(denoiser, self._questions(1)[0])
        return denoiser

    @cached_property
    def content(self) -> dict[str, str]:
        """What rows are of, by content; see `hwsearch.study.records.identity.CALLED`."""
        denoiser = self.denoiser
        task, settings = self.settings.task_choice, self.settings
        asked = [p.asked for p in task.of_split("test", settings.limit, settings.seed)]
        return {
            "weights": weights_digest(denoiser.network),
            "settings": settings_digest(denoiser),
            "questions": questions_digest(denoiser, self._questions(QUESTIONS)),
            "problems": questions_digest(denoiser, asked),
            "task": task.words,
            "code": f"hwsearch {__version__}",
        }

    @cached_property
    def states(self) -> FrozenStates:
        """What the KL is measured on."""
        return FrozenStates.record(self.denoiser, self._questions(32))

    @cached_property
    def profile(self) -> SinkProfile:
        """Scores for rules that are calibrated beforehand."""
        return calibrate_sinks(self.denoiser, self._questions(16))

    @cached_property
    def bank(self) -> WeightBank:
        """Pruned layers, by what calibration saw."""
        problems = self.settings.task_choice.calibration_problems(self.settings.calibration)
        rows = answered(self.denoiser, problems)
        passes = noisy_passes(self.denoiser, [(row.given, row.target) for row in rows])
        return WeightBank(self.denoiser, WeightCalibration(self.denoiser, passes))

    def _questions(self, most: int) -> list[Question]:
        asked = min(most, self.settings.calibration)
        return self.settings.task_choice.calibration_questions(asked)


def stored_bytes(compressed: CompressedDenoiser) -> int:
    """Bytes of the layers' linears: fp32 values that are not zero, and a bit a weight to say which.

    A matrix without zeros is stored as it is.
    """
    network, total = compressed.network, 0
    for layer in network.linear_groups().layers:
        for paths in layer.values():
            for path in paths:
                weight = network.get_submodule(path).get_parameter("weight")
                values = int((weight != 0).sum())
                dense = 4 * weight.numel()
                total += min(dense, 4 * values + weight.numel() // 8)
    return total
