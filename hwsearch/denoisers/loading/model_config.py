"""A model before its weights, whichever files say what it is; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsearch.denoisers.geometry import Geometry, unbelievable
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.plan import CommitRule, Decoding

#: Used where a model does not say how it is asked.
DEFAULT_TEMPLATE = "Question: {question}\nAnswer:"

#: LLaDA's own sampler, one token a pass and nothing cached, where a model does not say otherwise.
DEFAULT_DECODING = Decoding(gen_length=256, block_length=32, steps=256, refresh_interval=1)

#: Dream's own: one block, and the rule that its makers evaluate it with.
DREAM_DECODING = Decoding(
    gen_length=256, block_length=256, steps=256, refresh_interval=1, rule=CommitRule.ENTROPY
)


@dataclass(frozen=True)
class ModelConfig:
    """A model before its weights.

    Attributes:
        family: the kind of model: the ``model_type`` of its config, or the architecture of its GGUF file.
        geometry: its sizes.
        mask_token_id: token for "not written yet"; None where the config does not say.
        end_token_ids: tokens that end an answer, as far as the config says.
        prompt_template: text around ``{question}``.
        decoding: how the model's makers decode it.
        where: the file, for error messages.
        weights: the file of weights that the config names; None where it names none.
        quantisation: how the stored weights are quantised; None where they are plain numbers.
    """

    family: str
    geometry: Geometry
    mask_token_id: int | None
    end_token_ids: tuple[int, ...]
    prompt_template: str
    decoding: Decoding
    where: str
    weights: str | None = None
    quantisation: str | None = None


def autoregressive(config: ModelConfig) -> ModelConfig:
    """The same model read from left to right: a causal mask, the next token predicted.

    Its sampler is the block-wise one with blocks of one token: what lies to the right is masked,
    and no position sees it.
    """
    return replace(
        config,
        geometry=replace(config.geometry, causal=True, logit_shift=True),
        decoding=Decoding(
            gen_length=config.decoding.gen_length,
            block_length=1,
            steps=config.decoding.gen_length,
            refresh_interval=1,
        ),
    )


def checked_heads(geometry: Geometry, fields: Fields) -> Geometry:
    """The same sizes.

    Raises:
        CheckpointError: a size is beyond what any model has, heads cannot be rotated, or query heads cannot
            share key heads evenly.
    """
    problem = unbelievable(geometry)
    if problem is not None:
        raise fields.error(problem)
    return geometry
