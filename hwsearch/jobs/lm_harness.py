"""hwsearch's models and bundles in lm-evaluation-harness: its model ``hwsearch``.

    hwsearch-lm-eval --model hwsearch --model_args pretrained=gsm-mini,steps=32 --tasks gsm8k

The harness knows only models that were registered before its command line runs, and has no
entry points for others, so this command registers ours and hands over to it: every flag of
``lm_eval`` works. In Python, importing this module registers the model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch.decoding.backend import Backend
from hwsearch.decoding.batches import groups_of_equal_length
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading import load_denoiser
from hwsearch.denoisers.passes import backend_of
from hwsearch.errors import HwsearchError, InputError
from hwsearch.jobs.scoring import BundleModel
from hwsearch.plan import Decoding
from hwsearch.runtime import Runtime
from hwsearch.runtime.bundle import BUNDLE_FILE
from hwsearch.tasks.evaluate import Prompted, answer_text
from hwsearch.tasks.extraction import cut
from hwsearch.tasks.likelihood import is_greedy, log_likelihood

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError:  # the extra is not installed: `main` says so
    LM, register_model = object, lambda name: lambda model: model


@register_model("hwsearch")
class HarnessModel(LM):
    """A denoiser or a bundle, as the harness asks models.

    How it writes is its own, not the task's: ``max_gen_toks`` and sampling are left aside, since
    a masked-diffusion model writes a fixed number of tokens, and is cut at a task's stops after.

    Args:
        pretrained: a bundled name, a model's folder, a hub id, or a bundle's folder.
        device: where torch runs; the harness's own default, ``cuda:0``, is the CPU where there is
            no GPU. A bundle runs on the CPU.
        dtype: arithmetic of a model.
        batch_size: most prompts of one length decoded together; a bundle takes one.
        mc_num: masks behind each log-likelihood.
        decoding: any of gen_length, block_length, steps, refresh_interval, rule and temperature,
            instead of the model's own; a bundle's are fixed.

    Raises:
        InputError: the model, the bundle or the decoding cannot be used.
    """

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        dtype: str = "float32",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        mc_num: int = 128,
        **decoding: int | float | str,
    ) -> None:
        super().__init__()
        del max_batch_size
        self.denoiser: Denoiser | None = None
        self.backend: Backend
        self.model: Prompted
        self.pretrained, self.draws = str(pretrained), int(mc_num)
        if (Path(pretrained) / BUNDLE_FILE).is_file():
            if decoding:
                raise InputError(f"a bundle's decoding is fixed; leave out {', '.join(decoding)}")
            runtime = Runtime(pretrained, threads=1)
            self.backend, self.model, self.batch = runtime.backend, BundleModel(runtime), 1
            self.chat = runtime.chat
        else:
            self.denoiser = load_denoiser(pretrained, dtype=dtype, device=_device(device))
            shares = [1.0] * self.denoiser.num_layers
            self.backend, self.model = backend_of(self.denoiser.network, shares), self.denoiser
            self.chat = self.denoiser.chat
            self.batch = int(batch_size) if str(batch_size).isdigit() else 1
        self.decoding = _decoding(self.model.decoding, decoding)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, cut at the first of the request's stops."""
        prompts = [self._encode(request.args[0]) for request in requests]
        texts = [""] * len(requests)
        for group in groups_of_equal_length(prompts, self.batch):
            tokens = np.array([prompts[index] for index in group], dtype=np.int64)
            written = generate(self.backend, tokens, self.decoding, self.model.mask_token_id)
            for index, row in zip(group, written[:, tokens.shape[1] :], strict=True):
                stops = _stops(requests[index].args[1])
                texts[index] = cut(answer_text(self.model, row.tolist()), stops)
                self.cache_hook.add_partial("generate_until", requests[index].args, texts[index])
        return texts

    def loglikelihood(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """A bound on each continuation's log probability, and whether decoding writes it.

        Raises:
            InputError: the model is a bundle, whose logits never leave it.
        """
        denoiser, found = self._logits_of(), []
        for context, continuation in (request.args for request in requests):
            # spaces between the two belong to the continuation's first token
            prompt = self._encode(context.rstrip(" "))
            answer = self._encode(context + continuation)[len(prompt) :]
            bound = log_likelihood(denoiser, prompt, answer, draws=self.draws, batch=self.batch)
            found.append((bound, is_greedy(denoiser, prompt, answer)))
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """A bound on the log probability of each whole text, nothing before it."""
        denoiser = self._logits_of()
        texts = (self._encode(request.args[0]) for request in requests)
        return [
            log_likelihood(denoiser, [], text, draws=self.draws, batch=self.batch) for text in texts
        ]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as the model's own template writes it."""
        if self.chat is None:
            raise InputError(f"{self.pretrained} has no chat template")
        return self.chat.render(chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Source of the model's template, for the harness's records."""
        return self.chat.source if chat_template and self.chat is not None else ""

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's caches."""
        return self.pretrained.replace("/", "__")

    def _encode(self, text: str) -> list[int]:
        return list(self.model.tokenizer.encode(text, add_special_tokens=False).ids)

    def _logits_of(self) -> Denoiser:
        if self.denoiser is None:
            raise InputError(
                "a bundle answers tokens, not logits, so it has no log-likelihoods; "
                "take a task that generates, or the model that was exported"
            )
        return self.denoiser


def _device(wanted: str | None) -> str:
    """The harness asks for ``cuda:0`` wherever it was not told otherwise."""
    import torch

    if wanted is None or (wanted.startswith("cuda") and not torch.cuda.is_available()):
        return "cpu"
    return wanted


def _decoding(own: Decoding, given: dict[str, int | float | str]) -> Decoding:
    from pydantic import ValidationError

    from hwsearch.plan import explain

    try:
        return Decoding.model_validate({**own.model_dump(), **given})
    except ValidationError as error:
        raise InputError(f"model_args: {explain(error)}") from error


def _stops(options: dict[str, Any]) -> Sequence[str]:
    until = options.get("until") or ()
    return (until,) if isinstance(until, str) else tuple(until)


def main() -> None:
    """The harness's own command line, with the model ``hwsearch`` known to it."""
    try:
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        sys.exit('error: the harness is not installed: pip install "hwsearch[search,lm-eval]"')
    except HwsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
