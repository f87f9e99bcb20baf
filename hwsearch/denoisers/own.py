"""A denoiser from any torch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer
from torch import nn

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_weights
from hwsearch.denoisers.loading.model_config import DEFAULT_TEMPLATE
from hwsearch.denoisers.network import OwnNetwork
from hwsearch.plan import Decoding


def own_denoiser(
    module: nn.Module,
    tokenizer: Tokenizer,
    *,
    layers: Sequence[Mapping[str, Sequence[str]]],
    mask_token_id: int,
    end_token_id: int,
    decoding: Decoding,
    head: str | None = None,
    prompt_template: str = DEFAULT_TEMPLATE,
    name: str = "own",
) -> Denoiser:
    """A torch module that is not Llama-shaped, as a denoiser.

    Formats, losses, decoding, export and search work on it, all by full passes. Sink thresholds
    need the cached passes of a Llama-form transformer and say so.

    Args:
        module: maps tokens ``[batch, length]`` to logits ``[batch, length, vocab]``.
        tokenizer: text to tokens and back.
        layers: for each layer the paths of its linears, by group (``attention``, ``mlp``).
        mask_token_id: the token that stands for "not written yet".
        end_token_id: the token that fills a generation after its end.
        decoding: how it is decoded.
        head: path of the output head, where plans may give it a format.
        prompt_template: text around ``{question}``.
        name: what to call it.

    Raises:
        InputError: a path is no ``nn.Linear``, is named twice, or a group is unknown.
        CheckpointError: a weight is no finite number.
    """
    denoiser = Denoiser(
        name=name,
        network=OwnNetwork(module.eval().requires_grad_(False), layers, head),
        tokenizer=tokenizer,
        mask_token_id=mask_token_id,
        end_token_id=end_token_id,
        prompt_template=prompt_template,
        decoding=decoding,
    )
    check_weights(denoiser)
    return denoiser
