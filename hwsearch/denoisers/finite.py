"""Numbers that are none: found once, in the uncompressed model, and told by name.

A weight that is NaN, as a fine-tune that diverged has them, makes every loss NaN; so does a finite weight
so large that a layer overflows. Neither shows before a search has run for hours, unless it is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import CheckpointError

FIX = "take another checkpoint: no plan can be compared with such a model"


#: Networks all of whose weights were seen to be finite.
_FINITE: WeakSet[nn.Module] = WeakSet()


def check_weights(denoiser: Denoiser) -> None:
    """See that every weight is a finite number.

    Buffers may hold infinities, as masks do, but no NaN.

    Raises:
        CheckpointError: one is not; the message names the first tensor and how many of its values.
    """
    first, others = None, 0
    for name, tensor in _not_finite(denoiser.network):
        first, others = (first or (name, tensor)), others + (first is not None)
    if first is None:
        _FINITE.add(denoiser.network)
        return
    name, tensor = first
    nan, inf = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    kinds = " and ".join(f"{n} {kind}" for n, kind in ((nan, "NaN"), (inf, "infinite")) if n)
    more = f" (and {others} more tensors)" if others else ""
    raise CheckpointError(
        f"model {denoiser.name!r}: tensor {name} has {kinds} of its {tensor.numel()} values{more}; "
        f"{FIX}{_narrow(tensor, inf)}"
    )


def check_weights_once(denoiser: Denoiser) -> None:
    """The same, unless its network was found finite before.

    Logits do not always tell: where scores of attention are NaN, torch's kernel puts out zeros on
    processors with AVX512.
    """
    if denoiser.network not in _FINITE:
        check_weights(denoiser)


def check_pass(denoiser: Denoiser, question: Question) -> None:
    """See that a pass over a question and its blank answer gives numbers.

    Raises:
        CheckpointError: it does not; the message names the first module that put out none.
    """
    blanks = [denoiser.mask_token_id] * denoiser.decoding.gen_length
    device = denoiser.network.device
    tokens = torch.tensor([denoiser.given(question).around(blanks)], device=device)
    if not _broken(denoiser.logits(tokens)):
        return
    check_weights(denoiser)
    where = _first_broken(denoiser.network, tokens)
    raise CheckpointError(
        f"model {denoiser.name!r}: its weights are finite numbers, but its logits are not; {where} is "
        f"the first to put out NaN or infinity, on a question; {FIX}"
    )


def _not_finite(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in network.named_parameters():
        if tensor.numel() and tensor.is_floating_point() and not _is_finite(tensor):
            yield name, tensor.detach()
    for name, buffer in network.named_buffers():
        if buffer.numel() and buffer.is_floating_point() and bool(buffer.isnan().any()):
            yield name, buffer.detach()


def _is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite: both ends are, and NaN would be an end."""
    low, high = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _narrow(tensor: Tensor, infinite: int) -> str:
    half = tensor.dtype == torch.float16 and infinite
    return "; float16 ends at 65,504, so load it as float32 or bfloat16" if half else ""


def _broken(logits: Tensor) -> bool:
    """Whether logits cannot be a distribution; minus infinity only says never."""
    return bool(logits.isnan().any() or (logits == float("inf")).any())


@torch.inference_mode()
def _first_broken(network: nn.Module, tokens: Tensor) -> str:
    """The first innermost module whose output is not finite."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if found or not isinstance(output, Tensor) or not output.is_floating_point():
                return
            if not bool(torch.isfinite(output).all()):
                found.append(name)

        return hook

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if not module._modules:
                hooks.callback(module.register_forward_hook(watch(name)).remove)
        network(tokens)
    return found[0] if found else "what follows its last module"
