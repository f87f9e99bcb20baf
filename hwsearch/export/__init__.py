"""Plan + denoiser → a bundle of ONNX graphs that onnxruntime runs without torch."""

from hwsearch.export.exporter import Exporter, export
from hwsearch.export.full_pass import TracedFullPass
from hwsearch.export.onnx_graphs import refresh_model, step_model
from hwsearch.export.products import ProductBank
from hwsearch.export.quantise import check_formats, product_formats, quantise_products
from hwsearch.export.traced import TracedGraphs
from hwsearch.export.weights import Graph, WeightsFile

__all__ = [
    "Exporter",
    "Graph",
    "ProductBank",
    "TracedFullPass",
    "TracedGraphs",
    "WeightsFile",
    "check_formats",
    "export",
    "product_formats",
    "quantise_products",
    "refresh_model",
    "step_model",
]
