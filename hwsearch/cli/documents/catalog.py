"""The document of each verb."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from hwsearch.cli.documents import bundles, command, devices, models, studies
from hwsearch.cli.documents.base import ErrorDocument
from hwsearch.errors import UnknownNameError

#: By verb: what it prints, by the flags that decide it.
DOCUMENTS: dict[str, Any] = {
    "demo": studies.DemoDocument,
    "ls": list[models.Listed],
    "inspect": models.InspectDocument,
    "sinks": models.SinksDocument,
    "baselines": list[models.BaselineDocument],
    "profile": devices.DeviceDocument
    | devices.KitDocument
    | devices.LlamaKitDocument
    | devices.ProfileDryRunDocument,
    "predict": devices.PredictDocument,
    "search": studies.SearchDocument | studies.DryRunDocument,
    "compare": studies.CompareDocument,
    "front": list[studies.FrontRow] | studies.TargetDocument,
    "report": studies.ReportDocument,
    "export": bundles.BundleDocument | bundles.GgufDocument | bundles.CompressedTensorsDocument,
    "verify": list[bundles.CheckDocument],
    "evaluate": models.EvaluateDocument,
    "proxies": list[models.ProxyDocument],
    "analytical": models.AnalyticalDocument,
    "generate": bundles.AnswerDocument,
    "bench": bundles.BenchDocument,
    "web": bundles.WebDocument,
    "schema": command.SchemaDocument,
    "completion": command.CompletionDocument,
}


def document_type(verb: str) -> TypeAdapter[Any]:
    """What a verb prints: its result, or an error.

    Raises:
        UnknownNameError: there is no such verb.
    """
    if verb not in DOCUMENTS:
        raise UnknownNameError("verb", verb, DOCUMENTS)
    return TypeAdapter(DOCUMENTS[verb] | ErrorDocument)


def json_schema(verb: str) -> dict[str, Any]:
    """The JSON Schema of what a verb prints. Raises as `document_type`."""
    found = document_type(verb).json_schema(mode="validation", by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"hwsearch {verb} --json",
        **found,
    }
