"""How a model is loaded, as one value for Python, study files and flags: what its files may not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from pydantic import ByteSize, Field, field_validator

from hwsearch.denoisers.chat.asking import checked_template
from hwsearch.denoisers.loading.json_fields import MOST_TOKEN
from hwsearch.denoisers.loading.model_config import autoregressive
from hwsearch.denoisers.loading.model_files import find_folder, find_gguf
from hwsearch.errors import InputError
from hwsearch.own import is_own, own_object
from hwsearch.plan import Decoding
from hwsearch.schema import MOST_LENGTH, Keywords

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.described import DescribedModel

Token = Annotated[int, Field(ge=0, le=MOST_TOKEN)]
Count = Annotated[int, Field(ge=1, le=MOST_LENGTH)]

#: Bytes of a float32.
FLOAT_BYTES = 4


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

    def described(self, name: str | Path) -> DescribedModel | None:
        """The model that `load` loads, without its weights and without torch.

        None where only loading it can tell what it is: code of one's own, a GGUF file, arithmetic or a
        processor other than usual, files that do not hold what they say.

        Raises as `load` does.
        """
        if is_own(str(name)) or (self.dtype, self.torch_device) != ("float32", "cpu"):
            return None
        if find_gguf(name) is not None:
            return None
        from hwsearch.denoisers.described import DescribedModel
        from hwsearch.denoisers.large.memory import keeps_stored
        from hwsearch.denoisers.loading.model_folder import holds_what_it_says, read_model_folder

        stored = read_model_folder(find_folder(name))
        config = autoregressive(stored.config) if self.causal else stored.config
        refused = config.geometry.causal and (self.block_length or self.steps)
        if refused or not holds_what_it_says(stored.path, config):
            return None
        stored.roles(config, self.mask_token_id, self.end_token_id)  # refused as when it is loaded
        return DescribedModel(
            name=str(name),
            geometry=config.geometry,
            tokenizer=stored.tokenizer,
            prompt_template=self.prompt_template or config.prompt_template,
            decoding=self.lengths_of(config.decoding),
            chat=stored.chat,
            stays_stored=keeps_stored(config.geometry, FLOAT_BYTES, self.memory),
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
