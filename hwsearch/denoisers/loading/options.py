"""How a model is loaded, as one value for Python, study files and flags: what its files may not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from pydantic import ByteSize, Field, field_validator

from hwsearch.denoisers.chat.asking import checked_template
from hwsearch.denoisers.loading.json_fields import MOST_TOKEN
from hwsearch.errors import InputError
from hwsearch.own import is_own, own_object
from hwsearch.plan import Decoding
from hwsearch.schema import MOST_LENGTH, Keywords

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser

Token = Annotated[int, Field(ge=0, le=MOST_TOKEN)]
Count = Annotated[int, Field(ge=1, le=MOST_LENGTH)]


class ModelOptionsDict(TypedDict, total=False):
    """Keywords of `ModelOptions`."""

    dtype: str
    torch_device: str
    memory: int | None
    mask_token_id: int | None
    end_token_id: int | None
    prompt_template: str | None
    gen_length: int | None
    block_length: int | None
    steps: int | None
    causal: bool


class ModelOptions(Keywords):
    """What a user may, or must, say of a model beside its name.

    Attributes:
        dtype: arithmetic: ``float32``, ``bfloat16`` or ``float16``.
        torch_device: where it runs, as torch names it: ``cpu`` or ``cuda:0``.
        memory: bytes that may be held, such as ``8GiB``: weights whose copies would take too much of
            it stay in their files. None is half of the machine's memory.
        mask_token_id: needed where none of the model's files names it.
        end_token_id: needed where none of the model's files names one.
        prompt_template: text around ``{question}``; None is the model's own.
        gen_length: tokens that its makers write; None is what its files say.
        block_length: tokens written together.
        steps: passes over a whole generation.
        causal: whether the checkpoint is autoregressive: a causal mask, one token a pass.
    """

    dtype: str = "float32"
    torch_device: str = "cpu"
    memory: ByteSize | None = None
    mask_token_id: Token | None = None
    end_token_id: Token | None = None
    prompt_template: str | None = None
    gen_length: Count | None = None
    block_length: Count | None = None
    steps: Count | None = None
    causal: bool = False

    @field_validator("prompt_template")
    @classmethod
    def _asks(cls, template: str | None) -> str | None:
        return None if template is None else checked_template(template)

    @property
    def of_model(self) -> ModelOptions:
        """These options alone, where they are part of more."""
        return ModelOptions(**{name: getattr(self, name) for name in ModelOptions.model_fields})

    def load(self, name: str | Path, **more: Any) -> Denoiser:
        """The model of a name, a folder, a file or a hub id, or what ``package.module:function`` returns.

        Args:
            name: what to load.
            more: further arguments of `load_denoiser`.

        Raises:
            InputError: the function cannot be found or returns no `Denoiser`, an autoregressive model
                shall write several tokens a pass, or as `load_denoiser`.
            PlanError: the lengths do not fit each other.
        """
        denoiser = self._loaded(name, more)
        if self.prompt_template is not None:
            denoiser = replace(denoiser, prompt_template=self.prompt_template)
        if denoiser.is_causal and (self.block_length or self.steps):
            raise InputError(
                f"model {denoiser.name!r} is autoregressive: it writes one token a pass, so leave "
                "block_length and steps out; gen_length says how many tokens it writes"
            )
        return replace(
            denoiser,
            decoding=self.lengths_of(denoiser.decoding),
            options=self.of_model.model_dump(exclude_defaults=True),
        )

    def _loaded(self, name: str | Path, more: dict[str, Any]) -> Denoiser:
        """The model with its tokens, asked and decoded as its makers do."""
        from hwsearch.denoisers.denoiser import Denoiser
        from hwsearch.denoisers.loading.loader import load_denoiser

        if not is_own(str(name)):
            causal = {"causal": True} if self.causal else {}
            return load_denoiser(
                name,
                dtype=self.dtype,
                device=self.torch_device,
                memory=self.memory,
                **self._tokens,
                **causal,
                **more,
            )
        if self.causal:
            raise InputError(
                f"causal is for checkpoints, and {name} makes its own model; leave it out"
            )
        found = own_object(str(name))()
        if not isinstance(found, Denoiser):
            raise InputError(f"{name} must return a Denoiser; got {type(found).__name__}")
        return replace(found, name=str(name), **self._tokens)

    @property
    def _tokens(self) -> dict[str, Any]:
        said = {"mask_token_id": self.mask_token_id, "end_token_id": self.end_token_id}
        return {name: token for name, token in said.items() if token is not None}

    def lengths_of(self, own: Decoding) -> Decoding:
        """A decoding of the asked lengths; what is left out keeps its proportion to the rest.

        >>> own = Decoding(gen_length=64, block_length=32, steps=32, refresh_interval=16)
        >>> ModelOptions(gen_length=128).lengths_of(own).steps
        64

        Raises:
            PlanError: they do not fit each other.
        """
        length = self.gen_length or own.gen_length
        block = self.block_length or min(own.block_length, length)
        steps = self.steps or max(1, own.steps * length // own.gen_length)
        asked = {"gen_length": length, "block_length": block, "steps": steps}
        now = {name: getattr(own, name) for name in asked}
        return own if asked == now else own.changed(asked)
