"""How long to time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How long to time.

    Attributes:
        threads: threads of the runtime.
        rounds: samples of each operator in a session; of plans that are run whole as many, 5 at most.
        sessions: sessions.
        mixed_plans: random plans to run whole, beside one for each format.
    """

    threads: int = 1
    rounds: int = 10
    sessions: int = 3
    mixed_plans: int = 12
