"""Every provider, by the name that files and flags spell."""

from typing import Final

from hwsearch.errors import UnknownNameError
from hwsearch.runtime.providers.coreml import COREML
from hwsearch.runtime.providers.cpu import CPU
from hwsearch.runtime.providers.cuda import CUDA
from hwsearch.runtime.providers.openvino import OPENVINO
from hwsearch.runtime.providers.provider import Provider
from hwsearch.runtime.providers.qnn import QNN
from hwsearch.runtime.providers.tensorrt import TENSORRT
from hwsearch.runtime.providers.web import WEB

#: All of them, onnxruntime's own first.
PROVIDERS: Final[dict[str, Provider]] = {
    each.name: each for each in (CPU, OPENVINO, WEB, CUDA, TENSORRT, COREML, QNN)
}


def exporting_for(runtime: str) -> Provider:
    """The provider that bundles for a device's runtime are written for.

    Devices of which others published times, and those timed by torch, have runtimes that run no bundles:
    theirs are written for onnxruntime's own provider.

    >>> exporting_for("llama.cpp-metal").name
    'onnxruntime-cpu'
    """
    return PROVIDERS.get(runtime, CPU)


def provider_of(name: str) -> Provider:
    """A provider by name.

    >>> provider_of("onnxruntime-cpu").package
    'onnxruntime'

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in PROVIDERS:
        raise UnknownNameError("runtime", name, PROVIDERS)
    return PROVIDERS[name]
