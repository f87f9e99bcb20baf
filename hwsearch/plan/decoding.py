"""What a plan says of how text is written: schedule or policy, cache, windows and stops."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from hwsearch.commit.catalog import AnyCommitPolicy
from hwsearch.errors import PlanError
from hwsearch.files import FileKind, read_json
from hwsearch.files.kinds import MIB
from hwsearch.forecast.settings import AnyForecast
from hwsearch.schema import MOST_INTEGER, MOST_LENGTH, Frozen, OmitsDefaults, explain

#: A number of tokens, or of passes over them.
Length = Annotated[int, Field(ge=1, le=MOST_LENGTH)]

#: The file of a decoding's changes.
DECODING_FILE = FileKind("decoding", MIB, PlanError)


class CommitRule(StrEnum):
    """Which masks of a block a pass writes.

    The first two are LLaDA's (arXiv 2502.09992): as many tokens in every pass, the most certain
    ones or any. The others are Dream's (arXiv 2508.15487), whose passes write the share of the
    masks that ``linspace(1, 1e-3, steps + 1)`` leaves behind; Dream itself has a single block.

    ``low_confidence``  the most probable tokens.
    ``random``          any.
    ``origin``          each mask with the pass's share as its chance, whatever the prediction.
    ``maskgit_plus``    the most probable tokens.
    ``topk_margin``     where the most probable token is furthest ahead of the second.
    ``entropy``         where the distribution has least entropy.
    """

    LOW_CONFIDENCE = "low_confidence"
    RANDOM = "random"
    ORIGIN = "origin"
    MASKGIT_PLUS = "maskgit_plus"
    TOPK_MARGIN = "topk_margin"
    ENTROPY = "entropy"


class Window(Frozen):
    """What a step runs beside its block, and what its context is.

    Attributes:
        before: positions before the block that each step recomputes with it.
        after: positions after it; None for all of them (Fast-dLLM's prefix cache).
        advance: whether only the first block of a generation begins with a refresh. The others begin
            with a pass over the block before, the block and what is around them, which leaves the
            older keys and values as they are.
        slide: whether the block moves on with what is written, always beginning at the first mask. Its
            passes store what they run, so that nothing is lost where it moves on (DSB, arXiv 2602.05992,
            which recomputes 24 positions before the block).
    """

    before: Annotated[int, Field(ge=0, le=MOST_LENGTH)] = 0
    after: Annotated[int, Field(ge=0, le=MOST_LENGTH)] | None = 0
    advance: bool = False
    slide: bool = False


#: Compared with once a pass, so it is made once.
_NO_WINDOW = Window()


class Decoding(OmitsDefaults):
    """How text is written: lengths, passes, and how often the cache is refreshed.

    Attributes:
        gen_length: tokens to write.
        block_length: tokens written together, left to right block by block.
        steps: denoising passes over the whole generation by a schedule; the most there can be where
            `commit` decides.
        refresh_interval: passes over a block from one refresh of the cache to the next; a block
            begins with one unless `window` advances. 1 refreshes every pass, which is LLaDA's sampler
            without any cache.
        rule: which masks a pass of the schedule writes.
        temperature: of the noise with which tokens are drawn; 0 takes the most probable ones.
        commit: a policy that decides by certainty how many masks a pass writes, in place of schedule
            and rule; None keeps to the schedule.
        stop_at_end: whether a finished block that holds an end token ends the generation; what is
            not written is filled with end tokens.
        window: what steps recompute beside their block.
        suffix_window: of the masks after the block, only so many and the very last are seen by any
            pass (Streaming-dLLM); None shows all.
        forecast: how the next pass over a block is foreseen, so that tokens are written without it;
            None foresees nothing.
    """

    gen_length: Length
    block_length: Length
    steps: Length
    refresh_interval: Annotated[int, Field(ge=1, le=MOST_INTEGER)]
    rule: CommitRule = CommitRule.LOW_CONFIDENCE
    temperature: Annotated[float, Field(ge=0.0, le=1e3)] = 0.0
    commit: AnyCommitPolicy | None = None
    stop_at_end: bool = False
    window: Window = Window()
    suffix_window: Annotated[int, Field(ge=0, le=MOST_LENGTH)] | None = None
    forecast: AnyForecast | None = None

    # studies are known by the text of their decoding, which must stay as it was without these
    _omitted_defaults = frozenset(
        {"rule", "temperature", "commit", "stop_at_end", "window", "suffix_window", "forecast"}
    )

    @model_validator(mode="before")
    @classmethod
    def _unscheduled(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("commit") is not None and "gen_length" in data:
            return {"steps": data["gen_length"], **data}
        return data

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.gen_length % self.block_length:
            raise ValueError(
                f"gen_length {self.gen_length} must be a multiple of "
                f"block_length {self.block_length}"
            )
        if self.steps % self.num_blocks or self.steps_per_block > self.block_length:
            raise ValueError(
                f"steps {self.steps} must be a multiple of the {self.num_blocks} blocks "
                f"and at most gen_length {self.gen_length}"
            )
        return self

    @model_validator(mode="after")
    def _sees_the_next_block(self) -> Self:
        if self.suffix_window is not None and self.suffix_window < self.block_length:
            raise ValueError(
                f"suffix_window {self.suffix_window} is shorter than block_length "
                f"{self.block_length}: the masks of the next block must be in sight"
            )
        return self

    @model_validator(mode="after")
    def _commits(self) -> Self:
        if self.commit is None:
            if self.window.slide:
                raise ValueError("window.slide goes by what a policy commits; name one in commit")
            return self
        if self.window.slide and (self.commit.needs_divergences or self.commit.credited):
            raise ValueError(
                f"commit {self.commit.policy!r} looks at earlier passes over the same block, and "
                "window.slide moves it on with each; take one of them"
            )
        if self.steps != self.gen_length:
            raise ValueError(
                f"steps {self.steps} is of a schedule, and {self.commit.policy!r} takes as many "
                "passes as it needs; leave steps out"
            )
        if self.rule is not CommitRule.LOW_CONFIDENCE:
            raise ValueError(
                f"rule {self.rule.value!r} is of a schedule; leave it out beside "
                f"commit {self.commit.policy!r}"
            )
        return self

    @model_validator(mode="after")
    def _foresees(self) -> Self:
        if self.forecast is None:
            return self
        if self.commit is None:
            raise ValueError(
                "forecast writes what it is sure of beside a policy, and a schedule writes so many tokens "
                "whatever it is sure of; name a policy in commit"
            )
        if self.window.slide:
            raise ValueError(
                "forecast looks at earlier passes over the same block, and window.slide moves it on with "
                "each; take one of them"
            )
        if self.temperature > 0:
            raise ValueError(
                "forecast writes the most probable tokens, and temperature draws them by lot; take one"
            )
        return self

    @property
    def is_windowed(self) -> bool:
        """Whether passes run other rows than the whole sequence and the block."""
        return self.window != _NO_WINDOW or self.suffix_window is not None

    @property
    def num_blocks(self) -> int:
        """Blocks in a generation."""
        return self.gen_length // self.block_length

    @property
    def steps_per_block(self) -> int:
        """Passes over each block; the most there can be where `commit` decides."""
        return self.steps // self.num_blocks

    @property
    def depends_on_text(self) -> bool:
        """Whether a generation's passes can be counted only by writing it."""
        return self.commit is not None or self.stop_at_end

    @property
    def refreshes(self) -> int:
        """Refresh passes in a generation by the schedule, all blocks beginning with one."""
        return self.num_blocks * -(-self.steps_per_block // self.refresh_interval)

    @property
    def words(self) -> str:
        """How text is written, in a few words.

        >>> makers = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=4)
        >>> makers.words
        'schedule of 8 passes'
        >>> makers.changed({"commit": {"policy": "threshold"}, "stop_at_end": True}).words
        'threshold 0.9, stop'
        """
        said = [f"schedule of {self.steps} passes" if self.commit is None else self.commit.words]
        said += ["stop"] * self.stop_at_end
        window, around = self.window, (self.window.before, self.window.after)
        said += [name for name in ("advance", "slide") if getattr(window, name)]
        if around != (0, 0):
            said.append(f"window {around[0]}+{'all' if around[1] is None else around[1]}")
        if self.suffix_window is not None:
            said.append(f"suffix {self.suffix_window}")
        if self.forecast is not None:
            said.append(self.forecast.words)
        return ", ".join(said)

    def changed(self, changes: Mapping[str, Any]) -> Decoding:
        """The same with some fields changed; a policy that comes in takes `steps` and `rule` away.

        >>> makers = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=4)
        >>> makers.changed({"commit": {"policy": "threshold"}}).commit
        Threshold(policy='threshold', threshold=0.9)

        Raises:
            PlanError: a key is unknown, or a value outside its range; the message names the key.
        """
        fields = self.model_dump()
        if changes.get("commit") is not None:
            fields = {key: value for key, value in fields.items() if key not in ("steps", "rule")}
        try:
            return type(self).model_validate(fields | dict(changes))
        except ValidationError as error:
            raise PlanError(f"decoding: {explain(error)}") from error

    @classmethod
    def read_changes(cls, path: Path) -> dict[str, Any]:
        """The fields in a JSON file, for `changed`. Raises `PlanError`, naming the file."""
        found = read_json(path, DECODING_FILE)
        if not isinstance(found, dict):
            raise PlanError(f'{path}: a decoding is an object, such as {{"stop_at_end": true}}')
        return found

    def scheduled(self) -> Decoding:
        """The same lengths by schedule and rule alone, refreshed block by block: what makers decode by."""
        plain = {"commit": None, "stop_at_end": False, "window": Window(), "suffix_window": None}
        return self.model_copy(update=plain | {"forecast": None})

    def unforeseen(self) -> Decoding:
        """The same without forecasts: what they are fitted on."""
        return self.model_copy(update={"forecast": None})
