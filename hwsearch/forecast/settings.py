"""What a plan says of forecasts: by which method, and how sure they must be."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from hwsearch.commit.policy import Share
from hwsearch.schema import Frozen


class ForecastSettings(Frozen):
    """Forecasts between two passes over a block; a subclass is one method with its numbers.

    Idea: what a pass predicts for the masks that it left is much like what the next one will
    predict. Where the difference can be foreseen, tokens are written without that next pass. Limits:
    tokens that were just written are news to the model, and a forecast knows of them only what it
    was fitted to know. Forecasts are fitted on what the compressed model writes for calibration
    questions, and belong to that model and decoding.

    Attributes:
        threshold: forecast probability above which a token is written.
        depth: forecasts in a row, each seeing what the one before wrote.
        verify: run the pass all the same, and write of a forecast only what that pass chooses.
        bins: forecasts are fitted and judged apart by the share of the block that is masked.
        least_agreement: a bin is used where, of the tokens that it would write in held-out blocks, at
            least this share is what the pass that was foreseen holds most probable ...
        least_r2: ... and its logits explain at least this share of how the pass's logits changed.
    """

    method: str
    threshold: Share = 0.9
    depth: Annotated[int, Field(ge=1)] = 1
    verify: bool = False
    bins: Annotated[int, Field(ge=1, le=64)] = 4
    least_agreement: Annotated[float, Field(ge=0.0, le=1.0)] = 0.95
    least_r2: Annotated[float, Field(le=1.0)] = 0.0

    #: Whether forecasts look at the final hidden states, beside the logits.
    needs_hidden: ClassVar[bool] = False

    @property
    def words(self) -> str:
        """The method, its threshold, and whether it is verified."""
        depth = f" x{self.depth}" if self.depth > 1 else ""
        return f"forecast {self.method} {self.threshold:g}{depth}" + " verified" * self.verify


class Reuse(ForecastSettings):
    """The logits of the last pass as they are: what every other method must beat.

    Nothing is fitted, so no bin is shut unless `least_agreement` shuts it.
    """

    method: Literal["reuse"] = "reuse"
    least_r2: Annotated[float, Field(le=1.0)] = -1.0


class History(ForecastSettings):
    """Logits raised by how often a token was predicted before, as CreditDecoding does (arXiv 2510.06133).

    Attributes:
        decay, exponent, weight: as in `hwsearch.commit.credit.CreditThreshold`.
    """

    method: Literal["history"] = "history"
    decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    exponent: Annotated[float, Field(gt=0.0)] = 0.2
    weight: Annotated[float, Field(gt=0.0)] = 0.7
    least_r2: Annotated[float, Field(le=1.0)] = -10.0


class Ridge(ForecastSettings):
    """A combination of the logits of the last passes, its few numbers fitted by ridge regression.

    Numbers are fitted for each bin and each number of passes that were seen; after one pass alone
    there is a single one, which makes the logits sharper or flatter.

    The head of a model is linear, so this is also a combination of its final hidden states.

    Attributes:
        passes: how many of them.
        penalty: of the regression, as a share of the mean square of what it sees.
    """

    method: Literal["ridge"] = "ridge"
    passes: Annotated[int, Field(ge=1, le=8)] = 2
    penalty: Annotated[float, Field(ge=0.0)] = 1e-3


class LowRank(ForecastSettings):
    """How logits will change, by reduced-rank ridge regression from hidden states and written tokens.

    Attributes:
        rank: of the map from what is seen to logits.
        penalty: of the regression, as a share of the mean square of what it sees.
        copy_penalty: of the regressions that say from where masks repeat tokens of the block, in
            pairs of a mask and a token; None for a map that sees nothing of the kind.
    """

    method: Literal["low-rank"] = "low-rank"
    rank: Annotated[int, Field(ge=1)] = 32
    penalty: Annotated[float, Field(ge=0.0)] = 1.0
    copy_penalty: Annotated[float, Field(gt=0.0)] | None = 300.0
    needs_hidden: ClassVar[bool] = True


class Golden(ForecastSettings):
    """The low-rank map, and what it missed in the most similar states of a coreset, by a kernel.

    States are similar where the map's few numbers are.

    Attributes:
        rank, penalty, copy_penalty: of that map.
        coreset: states that are kept.
        neighbours: how many of them a forecast averages.
        choose: how the coreset is chosen: ``k-centre``, ``k-means`` or ``leverage`` scores.
    """

    method: Literal["golden"] = "golden"
    rank: Annotated[int, Field(ge=1)] = 32
    penalty: Annotated[float, Field(ge=0.0)] = 1.0
    copy_penalty: Annotated[float, Field(gt=0.0)] | None = 300.0
    coreset: Annotated[int, Field(ge=1)] = 256
    neighbours: Annotated[int, Field(ge=1)] = 16
    choose: Literal["k-centre", "k-means", "leverage"] = "k-means"
    needs_hidden: ClassVar[bool] = True


#: Any of them, told apart by the field ``method``: the type of `hwsearch.plan.Decoding.forecast`.
AnyForecast = Annotated[Reuse | History | Ridge | LowRank | Golden, Field(discriminator="method")]

METHODS: Final[dict[str, type[ForecastSettings]]] = {
    str(method.model_fields["method"].default): method
    for method in (Reuse, History, Ridge, LowRank, Golden)
}
