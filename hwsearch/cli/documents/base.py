"""What all documents share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

#: Numbers by name, which depend on what was asked.
Numbers = dict[str, float]

#: A lower and an upper end.
Interval = tuple[float, float]


class Document(BaseModel):
    """An object of fixed keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerFormats(Document):
    """A layer of a plan: formats under the names that the plan has them by."""

    layer: int
    attention: str | None = None
    qkv: str | None = None
    out: str | None = None
    mlp: str | None = None
    gate_up: str | None = None
    down: str | None = None


class ErrorFacts(Document):
    """What went wrong.

    Attributes:
        kind: name of the exception.
        message: the line of standard error.
        exit_code: that of the command.
    """

    kind: str
    message: str
    exit_code: int


class ErrorDocument(Document):
    """What any verb prints in place of its result where it fails."""

    error: ErrorFacts
