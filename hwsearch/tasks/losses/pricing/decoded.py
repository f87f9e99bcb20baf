"""Calibration problems decoded by a plan, with all that a price, or a count of passes, asks of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.answer import answer_length, answer_text, end_token_ids
from hwsearch.decoding.batches import Blank, Prompt, batches_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.passes import PASS_CLASSES, PassShape, counted
from hwsearch.decoding.sampler import Generation, generation
from hwsearch.decoding.trajectory import Trajectory
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.results import remembered
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.forecasts import ForecastFitter
from hwsearch.denoisers.network import Network
from hwsearch.plan import Decoding
from hwsearch.tasks.problem import Problem

#: Prompts of one length decoded together.
BATCH = 32


@dataclass(frozen=True, eq=False)
class DecodedProblem:
    """What was written for one problem.

    Attributes:
        found: the generation of the batch that it was in.
        row: its row in that batch.
        text_count: tokens of the text, up to and with the first that ends it; what is written
            behind that never counts.
    """

    found: Generation
    row: int
    text_count: int

    @classmethod
    def of(cls, found: Generation, row: int, ends: Collection[int]) -> DecodedProblem:
        """One row of a batch, whose text the tokens `ends` end."""
        generated = found.tokens[row, found.blank.place]
        # with the token that ends it, if there is one
        count = min(answer_length(generated, ends) + 1, len(generated))
        return cls(found, row, count)

    @property
    def blank(self) -> Blank:
        """Where it was written."""
        return self.found.blank

    @property
    def generated(self) -> NDArray[np.int64]:
        """All that was given left out, ``[gen_length]``."""
        tokens: NDArray[np.int64] = self.found.tokens[self.row, self.blank.place]
        return tokens

    @property
    def written(self) -> NDArray[np.int64]:
        """The pass that wrote each token, from 0, ``[gen_length]``; -1 for those never written."""
        passes: NDArray[np.int64] = self.found.written[self.row]
        return passes

    @property
    def written_count(self) -> int:
        """Tokens that any pass wrote, those behind the end included."""
        return int((self.written >= 0).sum())

    @property
    def passes(self) -> Counter[PassShape]:
        """How often each kind of pass was run for it."""
        return counted(self.found.passes, self.row)

    @property
    def trajectory(self) -> Trajectory:
        """Its generation, pass by pass."""
        return Trajectory(self.found.tokens[self.row], self.written, self.found.suffix_length)

    @cached_property
    def finished(self) -> NDArray[np.int64]:
        """All that was given, and the text, ``[length]``; its last token fills the rest of the blank.

        So two generations of one text are the same tokens, whatever was written behind the end.
        """
        tokens = self.found.tokens[self.row].copy()
        stop = self.blank.start + self.text_count
        tokens[stop : self.blank.stop] = tokens[stop - 1]
        return tokens


#: What decoded problems consist of.
WRITTEN_CLASSES = (DecodedProblem, Generation, Blank, *PASS_CLASSES)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What one network wrote for all problems.

    Attributes:
        decoding: how.
        problems: one for each prompt, in the order given.
    """

    decoding: Decoding
    problems: tuple[DecodedProblem, ...]

    def first(self, count: int) -> Decoded:
        """The first problems alone."""
        return Decoded(self.decoding, self.problems[:count])

    @property
    def cost(self) -> float:
        """Work of decoding, in full passes over one sequence: rows run over rows there are."""
        return sum(
            shape.rows * times / len(problem.finished)
            for problem in self.problems
            for shape, times in problem.passes.items()
        )


def decode(
    network: Network,
    kept: KeptShares,
    decoding: Decoding,
    prompts: Sequence[Prompt],
    *,
    mask_token_id: int,
    ends: Collection[int],
    batch: int = BATCH,
) -> Decoded:
    """Decode prompts, those of equal length together, so that nothing is padded.

    Args:
        network: a (compressed) network.
        kept: for each layer the share of cached positions it keeps, and by which rule.
        decoding: how text is written; chance, where it leaves any, has seed 0.
        prompts: tokens of each prompt, or those on both sides of a blank.
        mask_token_id: the token that stands for "not written yet".
        ends: tokens that end a text.
        batch: most prompts decoded together.

    Raises:
        InputError: the network cannot decode that way.
    """
    backend = backend_of(network, kept)
    found: dict[int, DecodedProblem] = {}
    for group in batches_of_equal_length(prompts, batch):
        wrote = generation(
            backend,
            group.prompts,
            decoding,
            mask_token_id,
            end_tokens=ends,
            suffixes=group.suffixes,
        )
        for row, index in enumerate(group.indices):
            found[index] = DecodedProblem.of(wrote, row, ends)
    return Decoded(decoding, tuple(found[index] for index in range(len(prompts))))


class DecodedProblems:
    """Problems that plans are to write answers to, and what the uncompressed model writes itself.

    Args:
        denoiser: the uncompressed model.
        problems: calibration problems; all plans are judged on the same.
        batch: most prompts decoded together.
        written: what the uncompressed model writes by its makers' decoding, where that is known.
        fitter: fits the uncompressed model's forecasts, for decodings that foresee passes.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        problems: Sequence[Problem],
        *,
        batch: int = BATCH,
        written: Decoded | None = None,
        fitter: ForecastFitter | None = None,
    ) -> None:
        self._written, self._fitter = written, fitter
        self.denoiser, self.problems, self.batch = denoiser, tuple(problems), batch
        self.prompts = tuple(denoiser.given(problem.asked) for problem in problems)
        self.ends = end_token_ids(denoiser)

    def decoded(self, network: Network, kept: KeptShares, decoding: Decoding | None) -> Decoded:
        """What a network writes by a decoding; None is that of the model's makers."""
        return decode(
            network,
            kept,
            decoding or self.denoiser.decoding,
            self.prompts,
            mask_token_id=self.denoiser.mask_token_id,
            ends=self.ends,
            batch=self.batch,
        )

    @cached_property
    def reference(self) -> Decoded:
        """What the uncompressed model writes by its makers' decoding."""
        if self._written is not None:
            return self._written
        return self.uncompressed(self.denoiser.decoding.scheduled())

    def uncompressed(self, decoding: Decoding) -> Decoded:
        """What the uncompressed model writes by a decoding."""
        denoiser, kept = self.denoiser, KeptShares.keeping_all(self.denoiser.num_layers)
        fitter = self._fitter if decoding.forecast is not None else None

        def network() -> Network:
            if fitter is None:
                return denoiser.network
            return fitter.foreseeing(denoiser.network, kept, decoding)

        fitted_on = [] if fitter is None else [repr(fitter.prompts)]
        problems = remembered(
            "decoded",
            denoiser,
            [repr((self.prompts, self.batch)), decoding.model_dump_json(), *fitted_on],
            lambda: self.decoded(network(), kept, decoding).problems,
            WRITTEN_CLASSES,
        )
        return Decoded(decoding, problems)

    def passes(self, decoded: Decoded) -> PassCounts:
        """How often each problem's generation made which passes."""
        samples = [(problem.found, problem.row) for problem in decoded.problems]
        return PassCounts.of(decoded.decoding, samples, self.ends)

    def texts(self, decoded: Decoded) -> list[str]:
        """The texts that count, cut at their ends."""
        tokenizer = self.denoiser.tokenizer
        return [
            answer_text(tokenizer, problem.generated.tolist(), self.ends)
            for problem in decoded.problems
        ]
