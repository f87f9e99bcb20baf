"""What a study minimises and what it limits: one value for Python, the study file and the flags.

A `Goal` is what the user asks. On a device, beside the uncompressed model's time, it becomes a
`ResolvedGoal`: milliseconds, and the unit that they are shown in.

A device has one power (a device of several power modes is one device a mode), so joules of a
generation are its milliseconds times watts. Inside, a search counts in milliseconds; here they are
turned into joules and back, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self, TypedDict

from pydantic import Field, model_validator

from hwsearch.schema import Keywords

if TYPE_CHECKING:
    from hwsearch.latency.devices.device import Device


class ObjectiveKind(StrEnum):
    """What is minimised: the loss within a target, or the whole front of loss and cost."""

    LOSS = "loss"
    FRONT = "front"
    ENERGY = "energy"
    ENERGY_FRONT = "energy-front"

    @property
    def is_multi_objective(self) -> bool:
        """Whether the cost is an objective of its own, beside the loss."""
        return self in (ObjectiveKind.FRONT, ObjectiveKind.ENERGY_FRONT)

    @property
    def is_energy(self) -> bool:
        """Whether the cost is energy."""
        return self in (ObjectiveKind.ENERGY, ObjectiveKind.ENERGY_FRONT)


@dataclass(frozen=True)
class Unit:
    """A unit of what a generation costs on one device.

    Attributes:
        symbol: ``ms`` or ``J``.
        column: what trials and tables call it.
        per_ms: how much of it a millisecond is.
    """

    symbol: str = "ms"
    column: str = "generation_ms"
    per_ms: float = 1.0

    def of(self, ms: float) -> float:
        """How much of it some milliseconds are."""
        return self.per_ms * ms

    def to_ms(self, amount: float) -> float:
        """How many milliseconds some of it is."""
        return amount / self.per_ms

    def number(self, ms: float) -> str:
        """Milliseconds in this unit, as a table shows them.

        >>> Unit().number(12.345), joule_unit(5.0).number(12.345)
        ('12.35', '0.06173')
        """
        return f"{self.of(ms):.2f}" if self == MILLISECONDS else f"{self.of(ms):.4g}"

    def show(self, ms: float) -> str:
        """The same with its symbol.

        >>> joule_unit(5.0).show(2000.0)
        '10 J'
        """
        return f"{self.number(ms)} {self.symbol}"


MILLISECONDS = Unit()


def joule_unit(watts: float) -> Unit:
    """Joules on a device of this power."""
    return Unit("J", "generation_joules", watts / 1e3)


class GoalOptions(TypedDict, total=False):
    """Keywords of a `Goal`."""

    objective: str
    target_ms: float | None
    target_ratio: float | None
    target_joules: float | None
    max_bytes: int | None
    max_joules: float | None


class Goal(Keywords):
    """What a study shall minimise, and within which limits.

    Attributes:
        target_ms: most milliseconds of a generation; or else
        target_ratio: the same as a share of the uncompressed model's; or else
        target_joules: most joules of a generation, for the objectives of energy.
        objective: ``loss`` within the target, or the whole ``front`` of loss and latency, for which
            a target may be left out; ``energy`` and ``energy-front`` with energy for latency.
        max_bytes: most bytes of weights; None does not limit them.
        max_joules: most joules of a generation beside a target of time; None does not limit them.

    Raises as `Keywords` does.

    >>> Goal(target_ratio=0.5).objective.value
    'loss'
    >>> Goal(objective="energy", target_ms=3.0)
    Traceback (most recent call last):
    hwsearch.errors.InputError: objective energy takes target_joules, not target_ms
    """

    target_ms: Annotated[float, Field(gt=0)] | None = None
    target_ratio: Annotated[float, Field(gt=0)] | None = None
    target_joules: Annotated[float, Field(gt=0)] | None = None
    objective: ObjectiveKind = ObjectiveKind.LOSS
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    max_joules: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        targets = (self.target_ms, self.target_ratio, self.target_joules)
        given = [target for target in targets if target is not None]
        if len(given) > 1 or (not given and not self.objective.is_multi_objective):
            raise ValueError("give exactly one of target_ms, target_ratio and target_joules")
        if self.objective.is_energy and self.target_ms is not None:
            raise ValueError(f"objective {self.objective} takes target_joules, not target_ms")
        if self.objective.is_energy and self.max_joules is not None:
            raise ValueError(
                f"objective {self.objective} takes target_joules, not max_joules: "
                "max_joules limits energy beside a target of time"
            )
        if self.target_joules is not None and not self.objective.is_energy:
            raise ValueError(
                "target_joules needs objective energy or energy-front; max_joules limits energy "
                "beside a target of time"
            )
        return self

    @property
    def goal(self) -> Goal:
        """The goal alone, of settings that say more."""
        return Goal(**{name: getattr(self, name) for name in Goal.model_fields})

    def check_device(self, device: Device) -> None:
        """Raise `InputError` if energy is asked of a device whose power nobody measured."""
        if self.objective.is_energy or self.max_joules is not None:
            _ = device.info.known_power

    def on_device(self, device: Device, baseline_ms: float) -> ResolvedGoal:
        """The goal in milliseconds.

        Args:
            device: where plans will run.
            baseline_ms: what the uncompressed model takes there.

        Raises as `check_device` does.
        """
        self.check_device(device)
        unit = MILLISECONDS
        if self.objective.is_energy:
            unit = joule_unit(device.info.known_power.watts)
        if self.target_ms is not None:
            target_ms = self.target_ms
        elif self.target_joules is not None:
            target_ms = unit.to_ms(self.target_joules)
        else:  # a front needs no target; then every plan that is not slower counts as within it
            target_ms = (1.0 if self.target_ratio is None else self.target_ratio) * baseline_ms
        return ResolvedGoal(target_ms, self.objective, unit, self.max_bytes, self.max_joules)


@dataclass(frozen=True)
class ResolvedGoal:
    """A goal on one device.

    Attributes:
        target_ms: predicted generation time that a plan may not exceed.
        objective: what is minimised.
        unit: what the target and the second objective are shown in.
        max_bytes: bytes of weights that a plan may not exceed; None does not limit them.
        max_joules: energy that a plan may not exceed beside the target; None does not limit it.
    """

    target_ms: float
    objective: ObjectiveKind = ObjectiveKind.LOSS
    unit: Unit = MILLISECONDS
    max_bytes: int | None = None
    max_joules: float | None = None
