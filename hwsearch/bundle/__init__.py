"""Plan + denoiser → a bundle of ONNX graphs that onnxruntime runs without torch."""

from hwsearch.bundle.exporter import Exporter, exporter_of, write_bundle
from hwsearch.bundle.full_pass import TracedFullPass
from hwsearch.bundle.graphs.traced import TracedGraphs
from hwsearch.bundle.products import (
    ProductBank,
    check_formats,
    product_formats,
    quantise_products,
)
from hwsearch.bundle.weights import Graph, WeightsFile

__all__ = [
    "Exporter",
    "Graph",
    "ProductBank",
    "TracedFullPass",
    "TracedGraphs",
    "WeightsFile",
    "check_formats",
    "exporter_of",
    "product_formats",
    "quantise_products",
    "write_bundle",
]
