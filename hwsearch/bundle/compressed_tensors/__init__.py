"""A compressed model as a Hugging Face folder of compressed-tensors, which vLLM and transformers load."""

from hwsearch.bundle.compressed_tensors.export import export_compressed_tensors
from hwsearch.bundle.compressed_tensors.schemes import stored_network

__all__ = ["export_compressed_tensors", "stored_network"]
