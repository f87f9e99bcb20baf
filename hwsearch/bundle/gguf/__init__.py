"""A plan as a GGUF file, which llama.cpp runs: weights in types by tensor, sizes, tokens, mask token."""

from hwsearch.bundle.gguf.export import export_gguf
from hwsearch.bundle.gguf.rounded import as_stored

__all__ = ["as_stored", "export_gguf"]
