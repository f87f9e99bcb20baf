"""Passes of llama.cpp through llama-cpp-python, and what they are held against.

llama.cpp multiplies matrices in two ways, which differ in the inputs. Its own kernels round them to int8 in
blocks of 32. Built with a BLAS library (``CMAKE_ARGS="-DGGML_BLAS=ON -DGGML_BLAS_VENDOR=OpenBLAS"``), it
turns the weights into floats and leaves inputs as they are, in passes of 32 tokens or more, as long as
weights are not stored anew for its own kernels.

``LLAMA_CPP_LIB_PATH`` takes the libraries of another build than the package's own.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np
import torch
from torch import Tensor

#: Tokens from which on products go to BLAS, in a build that has it.
BLAS_TOKENS = 32

#: How llama.cpp tells which node of a graph is a product of what, and who computes it.
_PRODUCT = re.compile(r"node #\s*\d+ \(\s*MUL_MAT\):.*?\) \[\s*(\w+).*?c=\d+:\s*(\S+)")

#: How names of weights begin; they are cut after 20 letters.
_WEIGHTS = ("blk.", "output.weight", "token_embd")

#: ggml's number of 32-bit floats.
_F32 = 0


@dataclass(frozen=True, eq=False)
class LlamaPass:
    """What a pass computed.

    Attributes:
        logits: ``[tokens, vocab]``.
        on_blas: products by a weight that BLAS computed.
        on_cpu: those that llama.cpp's own kernels did.
    """

    logits: Tensor
    on_blas: int
    on_cpu: int


class _Log:
    """What llama.cpp tells, kept off standard error."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.callback = llama_cpp.llama_log_callback(self._keep)
        os.environ["GGML_SCHED_DEBUG"] = "2"
        llama_cpp.llama_log_set(self.callback, None)

    def _keep(self, _level: int, text: bytes, _data: object) -> None:
        self.parts.append(text.decode(errors="replace"))

    def products(self) -> list[str]:
        """Who computes each product by a weight, since the log was cleared."""
        lines = "".join(self.parts).splitlines()
        found = [_PRODUCT.search(line) for line in lines]
        return [m.group(1) for m in found if m and m.group(2).startswith(_WEIGHTS)]


def llama_pass(
    path: Path, tokens: Sequence[int], causal: bool, *, exact: bool = True, repack: bool = False
) -> LlamaPass:
    """One pass over all tokens, on one thread.

    Args:
        path: a GGUF file.
        tokens: of the only sequence.
        causal: whether each token sees those before it alone.
        exact: keep keys and values in 32 bits and compute attention operator by operator; by default
            llama.cpp rounds them to 16.
        repack: let llama.cpp store weights anew for its kernels, as it does by default.
    """
    log = _Log()
    llama_cpp.llama_backend_init()
    wanted = llama_cpp.llama_model_default_params()
    wanted.use_extra_bufts = repack
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), wanted)
    assert model, "".join(log.parts)
    context = llama_cpp.llama_init_from_model(model, _context_params(len(tokens), exact))
    llama_cpp.llama_set_causal_attn(context, causal)
    log.parts.clear()
    logits = _decoded(model, context, tokens)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    who = log.products()
    assert who, "llama.cpp tells who computes what"
    return LlamaPass(logits, who.count("BLAS"), who.count("CPU"))


def _context_params(count: int, exact: bool) -> object:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = max(count, 64)
    params.n_threads = params.n_threads_batch = 1
    if exact:
        params.type_k = params.type_v = _F32
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return params


def _decoded(model: object, context: object, tokens: Sequence[int]) -> Tensor:
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for place, token in enumerate(tokens):
        batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, place, 1
        batch.seq_id[place][0], batch.logits[place] = 0, 1
    assert llama_cpp.llama_decode(context, batch) == 0
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    rows = [
        np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, place), (size,)).copy()
        for place in range(len(tokens))
    ]
    llama_cpp.llama_batch_free(batch)
    return torch.from_numpy(np.stack(rows))


def has_blas() -> bool:
    """Whether the libraries were built with one."""
    find = llama_cpp.llama_cpp._lib.ggml_backend_reg_by_name
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    return find(b"BLAS") is not None


def rounded_by_llama(x: Tensor) -> Tensor:
    """Inputs ``[..., features]`` as llama.cpp's own kernels round them (``quantize_row_q8_0``).

    They are int8 in blocks of 32 as ours are, and each block's scale is a 16-bit float.
    """
    blocks = x.float().unflatten(-1, (-1, 32))
    largest = blocks.abs().amax(dim=-1, keepdim=True)
    inverse = torch.where(largest > 0, 127 / largest, 0.0)
    scale = (largest / 127).half().float()
    return ((blocks * inverse).round() * scale).flatten(-2)


def not_rounded(x: Tensor) -> Tensor:
    """Inputs as BLAS multiplies them."""
    return x


def divergence(ours: Tensor, theirs: Tensor) -> float:
    """KL of predictions ``[tokens, vocab]``, in nats a token."""
    p, q = (torch.log_softmax(logits.double(), -1) for logits in (ours, theirs))
    return float((p.exp() * (p - q)).sum(-1).mean())
