"""What runs bundles: onnxruntime with one of its execution providers, each a value in a file of its own.

A latency holds for a machine with the runtime that was timed on it. So a provider says which formats it
loads, how graphs are written for it, how they are opened, and how it is proved that it runs all of them.
`hwsearch.testing.RuntimeContract` holds one to that. One of them, onnxruntime-web, does not run in Python.
Nothing here imports torch.
"""

from hwsearch.runtime.providers.catalog import PROVIDERS, exporting_for, provider_of
from hwsearch.runtime.providers.cpu import CPU
from hwsearch.runtime.providers.provider import Provider
from hwsearch.runtime.providers.shaped import Session, session_for
from hwsearch.runtime.providers.web import WEB

__all__ = [
    "CPU",
    "PROVIDERS",
    "WEB",
    "Provider",
    "Session",
    "exporting_for",
    "provider_of",
    "session_for",
]
