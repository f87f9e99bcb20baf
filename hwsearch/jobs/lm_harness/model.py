"""hwsearch's models and bundles in lm-evaluation-harness: its model ``hwsearch``.

    hwsearch-lm-eval --model hwsearch --model_args pretrained=gsm-mini,steps=32 --tasks gsm8k

The harness knows only models that were registered before its command line runs, and has no
entry points for others, so this command registers ours and hands over to it: every flag of
``lm_eval`` works. In Python, importing this module registers the model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch.decoding.answer import answer_text, end_token_ids
from hwsearch.decoding.backend import Backend
from hwsearch.decoding.batches import groups_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import HwsearchError, InputError
from hwsearch.jobs.evaluation import BundleModel
from hwsearch.jobs.lm_harness.texts import (
    HarnessTokens,
    conversation,
    stated,
    stops_of,
    token_limit,
)
from hwsearch.plan import Decoding
from hwsearch.runtime import Runtime
from hwsearch.runtime.bundle import BUNDLE_FILE
from hwsearch.tasks.evaluation import Prompted
from hwsearch.tasks.finite import FiniteBackend
from hwsearch.tasks.likelihood import is_greedy, log_likelihood

try:
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
except ImportError:  # the extra is not installed: `main` says so
    TemplateLM, register_model = object, lambda name: lambda model: model


@register_model("hwsearch")
class HarnessModel(TemplateLM):
    """A denoiser or a bundle, as the harness asks models.

    Prompts are those of the harness's own model ``hf``, token for token. How it writes is its own, not
    the task's: sampling is left aside, and a masked-diffusion model writes a fixed number of tokens,
    which are cut at the request's limit and stops after.

    Args:
        pretrained: a bundled name, a model's folder, a GGUF file, a hub id, or a bundle's folder.
        device: where torch runs; the harness's own default, ``cuda:0``, is the CPU where there is
            no GPU. A bundle runs on the CPU.
        dtype: arithmetic of a model.
        batch_size: most prompts of one length decoded together; a bundle takes one.
        mc_num: masks behind each log-likelihood.
        add_bos_token: put the tokenizer's first token before each text, or no special token at all;
            None leaves it to the tokenizer.
        max_length: most positions; None takes what the model says.
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
        add_bos_token: bool | None = None,
        max_length: int | None = None,
        **decoding: int | float | str,
    ) -> None:
        super().__init__()
        del max_batch_size
        self.denoiser: Denoiser | None = None
        self.model: Prompted
        self.pretrained, self.draws = str(pretrained), int(mc_num)
        self.fixed_length = "gen_length" in decoding
        if (Path(pretrained) / BUNDLE_FILE).is_file():
            if decoding:
                raise InputError(f"a bundle's decoding is fixed; leave out {', '.join(decoding)}")
            runtime = Runtime(pretrained, threads=1)
            backend: Backend = runtime.backend
            self.model, self.batch, self.chat = BundleModel(runtime), 1, runtime.chat
            tokens = {} if self.chat is None else self.chat.tokens
            bos, eos = tokens.get("bos_token"), tokens.get("eos_token")
        else:
            self.denoiser = load_denoiser(pretrained, dtype=dtype, device=_device(device))
            kept = KeptShares.keeping_all(self.denoiser.num_layers)
            backend, self.model = backend_of(self.denoiser.network, kept), self.denoiser
            self.chat = self.denoiser.chat
            self.batch = int(batch_size) if str(batch_size).isdigit() else 1
            bos, eos, length = stated(pretrained, self.denoiser.tokenizer)
            max_length = max_length or length
        self.backend = FiniteBackend(backend, self.model)
        self.tokens = HarnessTokens(
            self.model.tokenizer, self.model.end_token_id, bos, eos, add_bos_token, max_length
        )
        self.decoding = _decoding(self.model.decoding, decoding)

    @property
    def eot_token_id(self) -> int:
        """The token after a text."""
        return self.tokens.eot_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that has nothing before it."""
        return self.tokens.prefix_token_id

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **options: Any
    ) -> list[int]:
        """Tokens of a text, as the harness's ``hf`` makes them."""
        del options
        return self.tokens.encode(string, add_special_tokens)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, cut at the request's limit, stops or its end."""
        del disable_tqdm
        texts, ends = [""] * len(requests), end_token_ids(self.model)
        for group, prompts, decoding in self._groups(requests):
            written = generate(
                self.backend, prompts, decoding, self.model.mask_token_id, end_tokens=ends
            )
            for index, row in zip(group, written[:, prompts.shape[1] :].tolist(), strict=True):
                options = requests[index].args[1]
                stops = (*stops_of(options), self.tokens.end_text)
                kept = row[: token_limit(options)]
                texts[index] = answer_text(self.model.tokenizer, kept, ends, stops)
                self.cache_hook.add_partial("generate_until", requests[index].args, texts[index])
        return texts

    def _groups(self, requests: list[Any]) -> Iterator[tuple[list[int], np.ndarray, Decoding]]:
        """Places of requests that are decoded together, their prompts, and how."""
        by_decoding: dict[Decoding, list[int]] = {}
        for place, request in enumerate(requests):
            by_decoding.setdefault(self._decoding_of(request.args[1]), []).append(place)
        for decoding, places in by_decoding.items():
            length = decoding.gen_length
            prompts = [self.tokens.context(requests[place].args[0], length) for place in places]
            for group in groups_of_equal_length(prompts, self.batch):
                together = np.array([prompts[index] for index in group], dtype=np.int64)
                yield [places[index] for index in group], together, decoding

    def _decoding_of(self, options: dict[str, Any]) -> Decoding:
        """A model that reads forward can write as many tokens as are asked for."""
        limit = token_limit(options)
        causal = (
            self.denoiser is not None
            and self.denoiser.is_cached
            and self.denoiser.geometry.causal
            and self.decoding.block_length == 1
        )
        if limit is None or self.fixed_length or not causal:
            return self.decoding
        return self.decoding.model_copy(update={"gen_length": limit, "steps": limit})

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str] | None, list[int], list[int]]],
        disable_tqdm: bool = False,
        **options: Any,
    ) -> list[tuple[float, bool]]:
        """Of each continuation a bound on its log probability, and whether decoding writes it.

        Raises:
            InputError: the model is a bundle, whose logits never leave it; or a continuation has no
                token.
        """
        del disable_tqdm, options
        denoiser, found = self._logits_of(), []
        for texts, context, continuation in requests:
            if not continuation:
                raise InputError(f"there is no token to score in the continuation of {texts!r}")
            prompt = self._fitting(context, continuation)
            bound = log_likelihood(
                denoiser, prompt, continuation, draws=self.draws, batch=self.batch
            )
            answer = (bound, texts is not None and is_greedy(denoiser, prompt, continuation))
            found.append(answer)
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """A bound on the log probability of each whole text, in windows the model has room for."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        del disable_tqdm
        self._logits_of()
        totals = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.tokens.max_length,
                context_len=1,
            )
            parts = [(None, *make_disjoint_window(window)) for window in windows]
            totals.append(float(sum(bound for bound, _ in self._loglikelihood_tokens(parts))))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, totals[-1])
        return totals

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as the model's own template writes it, its last message to be continued."""
        if self.chat is None:
            raise InputError(f"{self.pretrained} has no chat template")
        return conversation(self.chat, chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Source of the model's template, for the harness's records."""
        return self.chat.source if chat_template and self.chat is not None else ""

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's caches."""
        return self.pretrained.replace("/", "__")

    def _fitting(self, context: list[int], continuation: list[int]) -> list[int]:
        """The last tokens of a context that fit before a continuation, its last token not counted."""
        room = (self.tokens.max_length or 0) + 1 - len(continuation)
        if room < 1:
            raise InputError(
                f"a continuation of {len(continuation)} tokens does not fit the model's "
                f"{self.tokens.max_length} positions; set max_length if the model has more"
            )
        return context[-room:]

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

    from hwsearch.schema import explain

    try:
        return Decoding.model_validate({**own.model_dump(), **given})
    except ValidationError as error:
        raise InputError(f"model_args: {explain(error)}") from error


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
