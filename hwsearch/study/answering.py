"""What plans answer to calibration problems: the passes it takes, and what the decoding costs.

A schedule writes as many tokens in each pass, whatever the model is sure of. Its passes are known, but
for where an answer ends, which the uncompressed model tells; and a loss on states of its generations
sees all that a plan changes. A commit policy goes by the compressed model's certainty, so the plan
itself is asked: its passes are counted, and its texts are priced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.passes import PassRecord
from hwsearch.decoding.sampler import Generation
from hwsearch.denoisers.network import Network
from hwsearch.plan import Decoding
from hwsearch.tasks.losses.pricing import Decoded, DecodedProblems, DecodingPrice


@dataclass(frozen=True)
class PlanAnswers:
    """What a plan answered.

    Attributes:
        passes: how often it made which passes.
        price: what its decoding costs, added to the loss.
    """

    passes: PassCounts
    price: float


class Answering:
    """Asks plans the same calibration problems.

    Args:
        problems: what is asked.
        price: what their texts cost.
    """

    def __init__(self, problems: DecodedProblems, price: DecodingPrice) -> None:
        self.problems = problems
        self.price = price
        self._uncompressed: dict[Decoding, PassCounts] = {}

    def ask(self, network: Network, kept: KeptShares, decoding: Decoding) -> PlanAnswers:
        """Passes and price of a plan; one that decodes by a schedule is not asked.

        A price below 0 says that the texts suit the uncompressed model better than its own: chance, and
        no merit of a plan, so it counts as 0 and the loss on frozen states decides.
        """
        if decoding.commit is None:
            return PlanAnswers(self.uncompressed(decoding), 0.0)
        found = self.problems.decoded(network, kept, decoding)
        return PlanAnswers(self.problems.passes(found), max(0.0, self.price.price(found)))

    def uncompressed(self, decoding: Decoding) -> PassCounts:
        """Passes of the uncompressed model."""
        if not decoding.depends_on_text:
            return PassCounts.scheduled(decoding)
        known = self._uncompressed.get(decoding)
        if known is None:
            known = self._uncompressed[decoding] = self.problems.passes(self._written(decoding))
        return known

    def uncompressed_price(self, decoding: Decoding) -> float:
        """What a decoding costs the uncompressed model's own texts, in nats; 0 for a schedule."""
        if decoding.commit is None:
            return 0.0
        return max(0.0, self.price.price(self._written(decoding)))

    def _written(self, decoding: Decoding) -> Decoded:
        """What the uncompressed model writes; a text that stops is one that was written and cut."""
        made = self.problems.denoiser.decoding.scheduled()
        if decoding == made.changed({"stop_at_end": True}):
            return stopped(self.problems.reference, decoding)
        return self.problems.uncompressed(decoding)


def stopped(whole: Decoded, decoding: Decoding) -> Decoded:
    """Generations without the blocks that follow the one in which their text ends."""
    problems = []
    for problem in whole.problems:
        blocks = -(-problem.text_count // decoding.block_length)
        last = problem.blank.start + blocks * decoding.block_length
        passes = _before(problem.found.passes, last)
        problems.append(replace(problem, found=_with(problem.found, passes)))
    return Decoded(decoding, tuple(problems))


def _before(passes: Sequence[PassRecord], position: int) -> tuple[PassRecord, ...]:
    return tuple(record for record in passes if record.call.start < position)


def _with(found: Generation, passes: tuple[PassRecord, ...]) -> Generation:
    return replace(found, passes=passes)
