"""What a study is after, and the unit that its target is told in: milliseconds, or joules.

A device has one power (a device of several power modes is one device a mode), so joules of a
generation are its milliseconds times watts. Inside, a search counts in milliseconds; here they are
turned into joules and back, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hwsearch.errors import UnknownNameError


class Aim(StrEnum):
    """What is minimised: the loss within a target, or the whole front of loss and cost."""

    LOSS = "loss"
    FRONT = "front"
    ENERGY = "energy"
    ENERGY_FRONT = "energy-front"

    @classmethod
    def of(cls, two: bool, energy: bool) -> Aim:
        """The aim of one objective or two, whose cost is time or energy.

        >>> Aim.of(two=True, energy=False)
        <Aim.FRONT: 'front'>
        """
        if energy:
            return cls.ENERGY_FRONT if two else cls.ENERGY
        return cls.FRONT if two else cls.LOSS

    @property
    def two(self) -> bool:
        """Whether the cost is an objective of its own, beside the loss."""
        return self in (Aim.FRONT, Aim.ENERGY_FRONT)

    @property
    def energy(self) -> bool:
        """Whether the cost is energy."""
        return self in (Aim.ENERGY, Aim.ENERGY_FRONT)


def aim_of(name: str) -> Aim:
    """An aim by name. Raises `UnknownNameError`."""
    try:
        return Aim(name)
    except ValueError as error:
        raise UnknownNameError("objective", name, [aim.value for aim in Aim]) from error


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
