"""The study file: everything that a search is told, as one value.

name = "gsm-mini-half"
model = "gsm-mini"
device = "cpu"
target_ratio = 0.5
trials = 120

[space]
formats = ["fp32", "w8a8", "w4"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from hwsearch.errors import StudyError
from hwsearch.plan import CacheRule, WeightFormat
from hwsearch.schema import Frozen, explain
from hwsearch.study.choices.search_space import Scales, SearchSpace
from hwsearch.study.early_stopping import EarlyStopping, Pruner
from hwsearch.study.goal import Aim
from hwsearch.study.records.study import Study, load_study
from hwsearch.study.storage.databases import location_of

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser

Threshold = Annotated[float, Field(ge=0.0, le=1.0)]
Shares = Annotated[tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...], Field(min_length=1)]

#: Lists of choices that flags may give as comma-separated text.
LISTS = (
    "formats",
    "thresholds",
    "kept_heads",
    "kept_channels",
    "rules",
    "early_scales",
    "late_scales",
    "boundaries",
)


class SpaceSpec(Frozen):
    """What a search may choose; None leaves it to model and device.

    Attributes:
        thresholds: sink thresholds, least pruning first.
        formats: weight formats, least compression first.
        groups: which layers are treated alike: ``tied``, ``thirds`` or ``free``; or ``refine``, which
            goes from the first to the last.
        kept_heads: shares of the key / value heads that a layer may keep, 1.0 first.
        kept_channels: shares of the mlp's channels that a layer may keep, 1.0 first.
        rules: by which cached positions are kept, in the whole plan.
        early_scales: factors of all kept shares early in a generation.
        late_scales: and late.
        boundaries: unwritten shares of the generation at which early may end.
    """

    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)] | None = None
    formats: Annotated[tuple[WeightFormat, ...], Field(min_length=1)] | None = None
    groups: Literal["tied", "thirds", "free", "refine"] | None = None
    kept_heads: Shares | None = None
    kept_channels: Shares | None = None
    rules: Annotated[tuple[CacheRule, ...], Field(min_length=1)] | None = None
    early_scales: Scales | None = None
    late_scales: Scales | None = None
    boundaries: Annotated[tuple[Threshold, ...], Field(min_length=1)] | None = None

    def chosen(self, denoiser: Denoiser) -> dict[str, Any]:
        """What is said, as a `SearchSpace` of a model has it: sizes for shares.

        Raises:
            StudyError: two shares keep the same size.
            InputError: shares of heads or channels are given, and the model has none.
        """
        said = self.model_dump(exclude_none=True)
        for name in (name for name in SearchSpace.SIZES if name in said):
            g, shares = denoiser.geometry, said[name]
            counts = tuple(map(g.heads_of if name == "kept_heads" else g.channels_of, shares))
            if len(set(counts)) < len(counts):
                most = g.num_kv_heads if name == "kept_heads" else g.intermediate_size
                listed = ", ".join(str(count or most) for count in counts)
                raise StudyError(
                    f"[space].{name} must keep another size by each share; {shares} keep {listed} "
                    f"of {most}"
                )
            said[name] = counts
        return said


class StudySpec(Frozen):
    """A resolved study.

    Attributes:
        model: a bundled name, a folder, or a hub id.
        device: a device, or its folder.
        target_ms: most milliseconds of a generation; or else
        target_ratio: the same as a share of the uncompressed model's; or else
        target_joules: most joules of a generation.
        objective: ``loss`` within the target, or the whole ``front`` of loss and latency, for which
            a target may be left out; ``energy`` and ``energy-front`` with energy for latency.
        max_bytes: most bytes of weights.
        max_joules: most joules of a generation beside a target of time.
        prompt_length: tokens of the prompt; None takes the calibration questions' median.
        space: what may be chosen.
        sampler: one of `hwsearch.study.SAMPLERS`.
        loss: one of `hwsearch.tasks.losses.PROXIES`.
        trials: trials that the study shall have, finished or stopped early.
        pruner: ``wilcoxon`` stops trials that are significantly worse; see `hwsearch.study.early_stopping`.
        fidelity: share of the loss's states on which a trial is first judged; 1 judges all.
        finalists: best plans to score by exact match after the search; 0 scores none.
        problems: held-out problems to ask each of them.
        seed: of the sampler.
        name: the study's name; None makes one of model and device.
        storage: Optuna storage; None is ``studies/<name>.db``.
        heartbeat_s: seconds between a worker's signs of life, where several share a storage.
        refine: a finished study with coarser groups to go on from: a name, or its SQLite file.
    """

    model: str
    device: str
    target_ms: Annotated[float, Field(gt=0)] | None = None
    target_ratio: Annotated[float, Field(gt=0)] | None = None
    target_joules: Annotated[float, Field(gt=0)] | None = None
    objective: Aim = Aim.LOSS
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    max_joules: Annotated[float, Field(gt=0)] | None = None
    prompt_length: Annotated[int, Field(ge=1)] | None = None
    space: SpaceSpec = SpaceSpec()
    sampler: str = "additive"
    loss: str = "kl"
    trials: Annotated[int, Field(ge=1)] = 100
    pruner: Pruner = "none"
    fidelity: Annotated[float, Field(gt=0, le=1)] = 1.0
    finalists: Annotated[int, Field(ge=0)] = 0
    problems: Annotated[int, Field(ge=1)] = 200
    seed: int = 0
    name: str | None = None
    storage: str | None = None
    heartbeat_s: Annotated[int, Field(ge=1)] = 30
    refine: str | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        targets = (self.target_ms, self.target_ratio, self.target_joules)
        given = [target for target in targets if target is not None]
        if len(given) > 1 or (not given and not self.objective.two):
            raise ValueError("give exactly one of target_ms, target_ratio and target_joules")
        if self.objective.energy and self.target_ms is not None:
            raise ValueError(f"objective {self.objective} takes target_joules, not target_ms")
        if self.objective.energy and self.max_joules is not None:
            raise ValueError(f"objective {self.objective} takes target_joules, not max_joules")
        if self.target_joules is not None and not self.objective.energy:
            raise ValueError(
                "target_joules needs objective energy or energy-front; max_joules limits energy "
                "beside a target of time"
            )
        return self

    @model_validator(mode="after")
    def _one_refinement(self) -> Self:
        if self.refine is not None and self.space.groups == "refine":
            raise ValueError('refine goes on from a study, groups = "refine" begins; give one')
        return self

    @classmethod
    def resolve(cls, path: Path | None, flags: Mapping[str, Any]) -> StudySpec:
        """A study from a file, flags that win over it, or both.

        Args:
            path: a TOML file, or None.
            flags: values by key; those of `LISTS` are comma-separated text. None means that the flag
                was not given.

        Raises:
            StudyError: the file cannot be read, or a key is unknown, missing or out of range.
        """
        data = read_toml(path) if path is not None else {}
        given = {key: value for key, value in flags.items() if value is not None}
        space: dict[str, Any] = {k: given.pop(k).split(",") for k in LISTS if k in given}
        if "groups" in given:
            space["groups"] = given.pop("groups")
        if {"target_ms", "target_ratio", "target_joules"} & given.keys():
            data = {k: v for k, v in data.items() if not k.startswith("target_")}
        merged = {**data, **given}
        if space:
            merged["space"] = {**merged.get("space", {}), **space}
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            raise StudyError(f"{path or 'study'}: {explain(error)}") from error

    def to_toml(self) -> str:
        """The study as TOML text."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def read_toml(path: Path) -> dict[str, Any]:
    """Plain data of a TOML file. Raises `StudyError`, naming file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"cannot read study {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not TOML: {error}") from error


def run_spec(
    spec: StudySpec,
    on_trial: Callable[[int], None] | None = None,
    on_problem: Callable[[int], None] | None = None,
) -> Study:
    """Run a study to its number of trials, and score its finalists.

    Args:
        spec: the study.
        on_trial: called with the number of trials after each.
        on_problem: called with the number of problems that a finalist just answered.

    Raises as `hwsearch.search` does.
    """
    from hwsearch.denoisers.loading.loader import load_denoiser
    from hwsearch.latency.devices.device import load_device
    from hwsearch.latency.operators import Workload
    from hwsearch.study.searching import search

    location_of(spec.name or "named-later", spec.storage).check()  # before a model is read
    denoiser, device = load_denoiser(spec.model), load_device(spec.device)
    chosen = spec.space.chosen(denoiser)
    coarse_to_fine = chosen.get("groups") == "refine"
    if coarse_to_fine:
        chosen["groups"] = "free"
    workload = None
    if spec.prompt_length is not None:
        workload = Workload(spec.prompt_length, denoiser.decoding)
    return search(
        denoiser,
        SearchSpace.of(denoiser, device).model_copy(update=chosen),
        device,
        target_ms=spec.target_ms,
        target_ratio=spec.target_ratio,
        target_joules=spec.target_joules,
        workload=workload,
        max_bytes=spec.max_bytes,
        max_joules=spec.max_joules,
        aim=spec.objective,
        refine=None if spec.refine is None else load_study(spec.refine, spec.storage),
        trials=spec.trials,
        name=spec.name,
        storage=spec.storage,
        sampler=spec.sampler,
        loss=spec.loss,
        seed=spec.seed,
        heartbeat_s=spec.heartbeat_s,
        early=EarlyStopping(spec.pruner, spec.fidelity),
        coarse_to_fine=coarse_to_fine,
        finalists=spec.finalists,
        problems=spec.problems,
        on_trial=on_trial,
        on_problem=on_problem,
    )
