"""Documents of the command line itself: schema, completion."""

from __future__ import annotations

from typing import Any

from pydantic import RootModel

from hwsearch.cli.documents.base import Document


class CompletionDocument(Document):
    """The completion script of a shell."""

    shell: str
    script: str


class SchemaDocument(RootModel[dict[str, Any]]):
    """A JSON Schema (draft 2020-12)."""
