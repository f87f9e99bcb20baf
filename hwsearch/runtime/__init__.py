"""A bundle → text, on onnxruntime, numpy and tokenizers alone: nothing here imports torch."""

from hwsearch.runtime.agreement import Agreement, check_agreement, measure_agreement
from hwsearch.runtime.backend import OnnxBackend
from hwsearch.runtime.bundle import Bundle, Figures, Manifest, read_bundle, record_figures
from hwsearch.runtime.engine import Runtime

__all__ = [
    "Agreement",
    "Bundle",
    "Figures",
    "Manifest",
    "OnnxBackend",
    "Runtime",
    "check_agreement",
    "measure_agreement",
    "read_bundle",
    "record_figures",
]
