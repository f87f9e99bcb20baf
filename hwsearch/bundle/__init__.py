"""Plan + denoiser → a bundle of ONNX graphs that onnxruntime runs without torch."""

from hwsearch.bundle.exporter import Exporter, exporter_of, write_bundle
from hwsearch.bundle.full_pass import TracedFullPass
from hwsearch.bundle.onnx_graphs import refresh_model, step_model
from hwsearch.bundle.products import ProductBank
from hwsearch.bundle.quantise import check_formats, product_formats, quantise_products
from hwsearch.bundle.traced import TracedGraphs
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
    "refresh_model",
    "step_model",
    "write_bundle",
]
