"""A device: a folder of `latency_tables/` with what it is, how it was timed, and how far to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hwsearch.errors import InputError, TableError, UnknownNameError
from hwsearch.files import FileKind, checked, read_toml
from hwsearch.files.kinds import MIB
from hwsearch.files.opening import is_file
from hwsearch.latency.devices.costs import Costs, Group, Sums
from hwsearch.latency.devices.places import device_folders, tables_folders
from hwsearch.latency.devices.roofline import Positive, Roofline
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.schema import MOST_INTEGER, Frozen

#: The file that says what a device is.
DEVICE_FILE = FileKind("device.toml", MIB, TableError)

#: What a summed millisecond is worth; no fit of real times is near these bounds.
Factor = Annotated[float, Field(ge=1e-6, le=1e6)]

#: A plain file name.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

#: Text that says something.
Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Provenance(StrEnum):
    """Where a device's milliseconds come from. Never mixed silently."""

    MEASURED = "measured"
    PUBLISHED = "published"
    MODELLED = "modelled"


class Line(Frozen):
    """Pass time ``intercept_ms + slope * sum of operators``, fitted on whole-model runs.

    Attributes:
        intercept_ms: milliseconds a pass costs beside its operators.
        slope: what a summed millisecond is worth end to end.
        formats: what a summed millisecond of products in a format is worth beside that: probes
            flatter some kernels more than others. None takes them as they are.
        choosing: the same of attention in layers that choose positions by what a refresh says.
        mape: mean absolute error of the fit on the plans it was made from, as a share.
        plans: how many plans that was.
        scatter: standard deviation of their relative errors, by `degrees` of freedom.
    """

    intercept_ms: Annotated[float, Field(ge=-1e9, le=1e9)]
    slope: Factor
    mape: Annotated[float, Field(ge=0, le=1e6)]
    plans: Annotated[int, Field(ge=2, le=1_000_000)]
    scatter: Annotated[float, Field(ge=0, le=1e6)] | None = None
    choosing: Factor | None = None
    formats: dict[WeightFormat, Factor] | None = None

    def of(self, sums: Sums) -> float:
        """Milliseconds of a pass by its operator sums."""
        weighed = sum(self.factor(group) * ms for group, ms in sums.items())
        return self.intercept_ms + self.slope * weighed

    def factor(self, group: Group) -> float:
        """What a summed millisecond of a group is worth beside the slope."""
        if group == "choosing":
            return self.choosing or 1.0
        return 1.0 if group is None else (self.formats or {}).get(group, 1.0)

    @property
    def degrees(self) -> int:
        """Degrees of freedom left: plans less what was fitted, at least one."""
        factors = len(self.formats or {}) + (self.choosing is not None)
        return max(self.plans - 2 - factors, 1)

    @property
    def spread(self) -> float:
        """`scatter`; where it was not kept, what it is for normal errors of this `mape`."""
        if self.scatter is not None:
            return self.scatter
        return 1.2533 * self.mape * math.sqrt(self.plans / self.degrees)


class GenerationCosts(Frozen):
    """What a generation costs beside its passes, in milliseconds.

    A pass alone is timed over and over; in a generation something else runs between any two.

    Attributes:
        pass_ms: for each pass: what chooses and writes tokens runs first, and caches are colder.
        fill_ms: for each pass that fills the cache, a refresh or an advance: positions are chosen,
            and keys and values handed to the steps behind it.
        once_ms: for the generation: a first pass over a prompt of another length.
        forecast_ms: for each pass of a decoding that foresees the next, by method; a method that is
            not there has no price.
    """

    pass_ms: Annotated[float, Field(ge=0, le=1e9)]
    fill_ms: Annotated[float, Field(ge=0, le=1e9)]
    once_ms: Annotated[float, Field(ge=0, le=1e9)]
    forecast_ms: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = Field(default_factory=dict)

    def of(self, passes: float, fills: float, forecast: str | None = None) -> float:
        """Milliseconds beside the passes.

        Args:
            passes: how many there are.
            fills: how many of them fill the cache.
            forecast: the method that foresees after each; None where nothing is foreseen.
        """
        foresees = 0.0 if forecast is None else self.forecast_ms.get(forecast, 0.0)
        return (self.pass_ms + foresees) * passes + self.fill_ms * fills + self.once_ms


class Calibration(Frozen):
    """How operator sums become times, for one model's geometry and workload.

    Attributes:
        model: the model that was run whole.
        refresh: from operator sums to refresh passes.
        step: from operator sums to step passes.
        generation: from predicted passes to generations, whose sampling no operator covers and
            whose caches are warmer or colder than those of a pass alone; None takes the passes as they are.
        costs: what is added to that line; None where generations of one length alone were run, whose
            intercept is shared out among their passes.
        sizes: digest of the model's sizes, by which it is known wherever its folder lies; None where an
            older hwsearch did not keep it.
        passes: forward passes of the generations that were run; None where that was not kept: those
            of the workload's schedule.
    """

    model: str
    sizes: str | None = None
    passes: Positive | None = None
    refresh: Line
    step: Line
    generation: Line | None = None
    costs: GenerationCosts | None = None

    @property
    def lines(self) -> tuple[Line, Line, Line | None]:
        """All three."""
        return self.refresh, self.step, self.generation


class PublishedCheck(Frozen):
    """A published pass that the fit did not see, predicted.

    Attributes:
        held_out: what the fit did not see: a format, a model, a number of rows, or another build.
        model: the published model.
        format: its format, as published.
        rows: tokens in the pass.
        predicted_ms: milliseconds of the pass according to the fit.
        published_ms: milliseconds of the pass according to the source.
        source: where that stands.
    """

    held_out: Literal["format", "model", "rows", "build"]
    model: str
    format: str
    rows: Annotated[int, Field(ge=1, le=MOST_INTEGER)]
    predicted_ms: Positive
    published_ms: Positive
    source: str

    @property
    def error(self) -> float:
        """Share by which the prediction is too long."""
        return self.predicted_ms / self.published_ms - 1.0


class Power(Frozen):
    """Power while a model ran.

    Attributes:
        watts: mean over the run.
        scope: what the meter saw, e.g. a rail or the wall.
        source: who says so.
    """

    watts: Positive
    scope: Said
    source: Said

    def joules(self, ms: float) -> float:
        """Energy of some milliseconds."""
        return self.watts * ms / 1e3


class DeviceInfo(Frozen):
    """What `device.toml` says.

    Attributes:
        name: the folder's name.
        provenance: measured, published or modelled.
        description: the hardware, in words.
        runtime: which runtime the times are of, e.g. ``onnxruntime-cpu``; also the name of the CSV.
        threads: threads the runtime used; 1 where it did not run here.
        environment: versions and settings at the time of timing.
        calibrations: one entry for each model that was run whole.
        roofline: what stands in for a table on a device that was not timed here.
        checks: published passes that the roofline was not fitted on.
        power: watts while running, where somebody measured them.
        sources: who published the numbers behind the roofline.
        caveats: what a reader should know before believing it.
        samples: rows of the table, so that a truncated one is noticed; None where not kept.
        total_us: what they add up to, so that a changed one, or one in another unit, is noticed; None
            where not kept.
    """

    name: str
    provenance: Provenance
    description: str
    runtime: FileName
    threads: Annotated[int, Field(ge=1, le=1 << 16)] = 1
    environment: dict[str, str] = Field(default_factory=dict)
    calibrations: tuple[Calibration, ...] = ()
    roofline: Roofline | None = None
    checks: tuple[PublishedCheck, ...] = ()
    power: Power | None = None
    sources: tuple[Said, ...] = ()
    caveats: tuple[str, ...] = ()
    samples: Annotated[int, Field(ge=1)] | None = None
    total_us: Positive | None = None

    @model_validator(mode="after")
    def _says_where_it_comes_from(self) -> Self:
        measured = self.provenance is Provenance.MEASURED
        if measured and self.roofline is not None:
            raise ValueError("a measured device has a table; a roofline is published or modelled")
        if measured and not self.environment.get("processor", "").strip():
            raise ValueError("a measured device must say what it was: environment.processor")
        if not self.sources and (
            self.roofline is not None or self.provenance is Provenance.PUBLISHED
        ):
            raise ValueError("a device not measured here needs sources: who published its numbers")
        if self.checks and self.provenance is Provenance.MODELLED:
            raise ValueError("a modelled device claims no accuracy, so it has no checks")
        return self

    @property
    def held_out_error(self) -> float | None:
        """Largest error among formats that were held out; None where none could be."""
        errors = [abs(check.error) for check in self.checks if check.held_out == "format"]
        return max(errors, default=None)

    @property
    def known_power(self) -> Power:
        """Its power. Raises `InputError` where nobody measured or published it."""
        if self.power is None:
            raise InputError(
                f"device {self.name} has no [power] in its device.toml, so its energy is unknown; "
                f"measure watts while a model runs and write them there, or choose a device that "
                f"has them, such as jetson-orin-nano-super-15w"
            )
        return self.power

    def calibration(self, model: str, sizes: str | None = None) -> Calibration | None:
        """The calibration made with this model, if there is one.

        Args:
            model: its name.
            sizes: digest of its sizes; None goes by the name alone. One of the same sizes will do
                under any name, since folders are moved.

        Raises:
            InputError: it was made with a model of this name and other sizes.
        """
        named = next((c for c in self.calibrations if c.model == model), None)
        if sizes is None or (named is not None and named.sizes in (None, sizes)):
            return named
        if named is not None:
            raise InputError(
                f"device {self.name} was calibrated with a model {model!r} of other sizes than the one "
                f"that is there now; time it anew: hwsearch profile --device NAME --shapes-of {model} "
                "--overwrite, or under another NAME"
            )
        return next((c for c in self.calibrations if c.sizes == sizes), None)


@dataclass(frozen=True, eq=False)
class Device:
    """A device and what operators cost on it."""

    info: DeviceInfo
    costs: Costs
    folder: Path

    def uncompressed(self, num_layers: int) -> CompressionPlan:
        """The plan of the least compressed format that the device's runtime can load."""
        widest = self.costs.formats()[0].value
        return CompressionPlan.uniform(num_layers, widest, widest, head=widest)

    @property
    def table(self) -> LatencyTable:
        """Its timings. Raises `TableError` where there are none, only a roofline."""
        if isinstance(self.costs, LatencyTable):
            return self.costs
        raise TableError(f"device {self.info.name} is {self.info.provenance}: it has no timings")


def load_device(name: str | Path) -> Device:
    """A device by name, or by the path of its folder.

    Raises:
        UnknownNameError: no such device.
        TableError: `device.toml` or the table is malformed; the message names file and key.
    """
    folder = Path(name)
    if not (folder / "device.toml").is_file():
        known = device_folders()
        bare = next((f for f in _places(str(name)) if f.is_dir()), None)
        if str(name) not in known and bare is not None:
            raise TableError(
                f"device folder {bare} has no device.toml, so nobody knows what was timed, where "
                f"and how; time the device with: hwsearch profile --device NAME"
            )
        if str(name) not in known:
            hint = "time this machine with: hwsearch profile --device NAME --shapes-of MODEL"
            raise UnknownNameError("device", str(name), known, hint)
        folder = known[str(name)]
    info = read_info(folder / "device.toml")
    return Device(info, _costs(info, folder), folder)


def load_kept_device(folder: str | None, name: str) -> Device:
    """The device of a folder, or where that is gone, the one of a name.

    Args:
        folder: where it was when a study kept it; None for one that was in no folder.
        name: of the device.

    Raises:
        HwsearchError: as `load_device`.
    """
    known = Path(folder or "")
    return load_device(known if is_file(known / "device.toml") else name)


def _places(name: str) -> list[Path]:
    """Where the folder of a device of this name may be."""
    return [Path(name), *(folder / name for folder in tables_folders())]


def _costs(info: DeviceInfo, folder: Path) -> Costs:
    if info.roofline is not None:
        return info.roofline
    if info.provenance is Provenance.MODELLED:
        raise TableError(
            f"{folder / 'device.toml'}: a modelled device has a [roofline]; a table of timings is of "
            f"a device that was measured, or published by somebody"
        )
    path = folder / f"{info.runtime}.csv"
    table = LatencyTable.read(path)
    _check_whole(info, table, path)
    return table


def _check_whole(info: DeviceInfo, table: LatencyTable, path: Path) -> None:
    """Hold a table against what its `device.toml` says of it. Raises `TableError`."""
    found, total_us = table.count(), table.total_us()
    if info.samples is not None and found != info.samples:
        raise TableError(
            f"{path}: must have {info.samples} samples, as device.toml says; got {found}: it was "
            f"truncated or changed; profile the device again"
        )
    if info.total_us is not None and abs(total_us - info.total_us) > 1e-9 * total_us + 1e-3:
        raise TableError(
            f"{path}: samples must add up to {info.total_us:.3f} us, as device.toml says; got "
            f"{total_us:.3f}: they are in another unit, or were changed; profile the device again"
        )


def read_info(path: Path) -> DeviceInfo:
    """Read and check a `device.toml`. Raises `TableError`, naming the key."""
    return checked(DeviceInfo, read_toml(path, DEVICE_FILE), path, DEVICE_FILE)


def write_info(info: DeviceInfo, path: Path) -> None:
    """Write a `device.toml`."""
    import tomli_w

    filled = {k: v for k, v in info.model_dump(mode="json", exclude_none=True).items() if v}
    path.write_text(tomli_w.dumps(filled), encoding="utf-8")
