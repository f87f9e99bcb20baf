"""A plan as a GGUF file, which llama.cpp runs: weights in types by tensor, sizes, tokens, mask token."""

from hwsearch.bundle.gguf.export import export_gguf
from hwsearch.bundle.gguf.rounded import gguf_network

__all__ = ["export_gguf", "gguf_network"]
