"""What the simulated model predicts on frozen passes, kept in a bundle to hold its graphs against.

For each judged position the file keeps the most probable tokens and the logarithms of their
probabilities, all other tokens together as one more; and how far the same prediction moves when the
simulation's floats are disturbed (`hwsearch.compression.perturbed`). A few tens of kilobytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.trajectory import FrozenPass, Trajectory, frozen_passes
from hwsearch.files import FileKind
from hwsearch.files.arrays import read_npz
from hwsearch.files.kinds import MIB
from hwsearch.runtime.bundle import REFERENCE_FILE, Bundle

#: The file of them.
REFERENCES = FileKind("file of references", 1024 * MIB, fix="export the bundle again")

#: Most probable tokens that are kept of a distribution.
TOP = 16

#: Most positions of one pass that are judged.
POSITIONS = 8


@dataclass(frozen=True, eq=False)
class References:
    """Frozen passes and what the simulation predicts there.

    Attributes:
        prompt_lengths: of each generation, ``[generations]``.
        tokens: all generations one after the other, all that was given included.
        written: the pass that wrote each token of the answers, ``[generations, gen_length]``; -1 behind
            an end at which the generation stopped.
        generation: of each judged position, ``[rows]``.
        index: the pass of each, ``[rows]``.
        position: the position in its block, ``[rows]``.
        ids: the most probable tokens, ``[rows, top]``, the first being the choice.
        logp: logarithms of their probabilities and of all others together, ``[rows, top + 1]``.
        disturbances: relative size of each run's disturbance, ``[runs]``.
        floor_kl: divergence of the disturbed simulation in nats, ``[runs, rows]``.
        floor_same: whether it makes the same choice, ``[runs, rows]``.
        suffix_lengths: tokens given behind each generation, ``[generations]``; None for none, which is
            not written.
    """

    prompt_lengths: NDArray[np.int64]
    tokens: NDArray[np.int64]
    written: NDArray[np.int64]
    generation: NDArray[np.int64]
    index: NDArray[np.int64]
    position: NDArray[np.int64]
    ids: NDArray[np.int64]
    logp: NDArray[np.float32]
    disturbances: NDArray[np.float32]
    floor_kl: NDArray[np.float32]
    floor_same: NDArray[np.bool_]
    suffix_lengths: NDArray[np.int64] | None = None

    def _problem(self) -> str | None:
        """What of the sizes or numbers contradicts itself; None where nothing does."""
        rows, generations, runs = len(self.index), len(self.prompt_lengths), len(self.disturbances)
        top = self.ids.shape[-1] if self.ids.ndim == 2 else 0
        shapes: dict[str, tuple[int, ...]] = {
            "prompt_lengths": (generations,), "generation": (rows,), "index": (rows,),
            "position": (rows,), "ids": (rows, top), "logp": (rows, top + 1),
            "disturbances": (runs,), "floor_kl": (runs, rows), "floor_same": (runs, rows),
        }  # fmt: skip
        if self.suffix_lengths is not None:
            shapes["suffix_lengths"] = (generations,)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                return f"{name} must have the shape {list(shape)}, got {list(getattr(self, name).shape)}"
        if self.written.ndim != 2 or len(self.written) != generations or self.tokens.ndim != 1:
            return "written must have a row for each generation, and tokens must be a list"
        return self._wrong_numbers(generations, top)

    def _wrong_numbers(self, generations: int, top: int) -> str | None:
        whole = ["prompt_lengths", "tokens", "written", "generation", "index", "position", "ids"]
        whole += ["suffix_lengths"] * (self.suffix_lengths is not None)
        for name in whole:
            values, least = getattr(self, name), -1 if name == "written" else 0
            if values.dtype.kind != "i" or (
                values.size and not least <= values.min() <= values.max() < 1 << 31
            ):
                return f"{name} must be whole numbers from {least}"
        for name in ("logp", "disturbances", "floor_kl"):
            values = getattr(self, name)
            if values.dtype.kind != "f" or np.isnan(values).any():
                return f"{name} must be numbers"
        behind = 0 if self.suffix_lengths is None else self.suffix_lengths.sum()
        if self.prompt_lengths.sum() + self.written.size + behind != len(self.tokens):
            return "tokens must be as many as prompts, answers and suffixes have"
        if not (generations and top and len(self.index)):
            return "it must judge at least one position"
        if self.generation.max() >= generations or self.position.max() >= self.written.shape[1]:
            return "a judged position lies in no generation"
        if self.index.max() > self.written.max():
            return "a judged pass was never run"
        return None

    def __len__(self) -> int:
        """Judged positions."""
        return len(self.ids)

    def trajectories(self) -> list[Trajectory]:
        """The generations."""
        behind = self.suffix_lengths
        behind = np.zeros_like(self.prompt_lengths) if behind is None else behind
        lengths = self.prompt_lengths + self.written.shape[1] + behind
        parts = np.split(self.tokens, np.cumsum(lengths)[:-1])
        return [
            Trajectory(*each) for each in zip(parts, self.written, behind.tolist(), strict=True)
        ]

    def passes(self, bundle: Bundle) -> Iterator[tuple[FrozenPass, NDArray[np.int64]]]:
        """Every judged pass of a bundle's references, and the rows that belong to it."""
        manifest, history = bundle.manifest, bool(bundle.kept_shares.pruned)
        for number, trajectory in enumerate(self.trajectories()):
            indices = sorted({int(i) for i in self.index[self.generation == number]})
            found = frozen_passes(
                trajectory, indices, manifest.decoding, manifest.mask_token_id, history=history
            )
            for frozen in found:
                here = (self.generation == number) & (self.index == frozen.index)
                yield frozen, np.flatnonzero(here)

    def write(self, path: Path) -> None:
        """Write them as a compressed numpy archive, integers as small as they are."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: array for name, array in values.items() if array is not None}
        small = {
            name: array.astype(np.int32) if array.dtype == np.int64 else array
            for name, array in arrays.items()
        }
        np.savez_compressed(path, **small)

    @classmethod
    def read(cls, path: Path) -> References:
        """References that `write` wrote.

        Raises:
            InputError: the file holds something else.
        """
        arrays = read_npz(path, REFERENCES)
        known = [field.name for field in fields(cls)]
        missing = {*known} - arrays.keys() - {"suffix_lengths"}
        if missing or arrays.keys() - {*known}:
            raise REFERENCES.refuse(
                path, f"it must hold {', '.join(known)}; got {', '.join(sorted(arrays))}"
            )
        found = cls(
            **{  # type: ignore[arg-type]
                name: array.astype(np.int64) if array.dtype == np.int32 else array
                for name, array in arrays.items()
            }
        )
        problem = found._problem()
        if problem is not None:
            raise REFERENCES.refuse(path, problem)
        return found


def read_references(bundle: Bundle) -> References | None:
    """The references of a bundle; None where it has none, as those of earlier versions."""
    if REFERENCE_FILE not in bundle.manifest.sha256:
        return None
    return References.read(bundle.path / REFERENCE_FILE)


def judged_positions(frozen: FrozenPass) -> NDArray[np.int64]:
    """The masked positions of a pass that are judged, evenly spread, in the block."""
    masked = frozen.masked
    spread = np.unique(np.linspace(0, len(masked) - 1, POSITIONS).round().astype(int))
    judged: NDArray[np.int64] = masked[spread]
    return judged


def top_tokens(logits: NDArray[np.floating], top: int = TOP) -> NDArray[np.int64]:
    """The most probable tokens ``[rows, top]``, the first of them first, of logits ``[rows, vocab]``."""
    order = np.argsort(-logits, axis=-1, kind="stable")
    found: NDArray[np.int64] = order[:, : min(top, logits.shape[-1] - 1)]
    return found


def log_probabilities(logits: NDArray[np.floating], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of some tokens and of all others together: ``[rows, top + 1]`` of logits ``[rows, vocab]``."""
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(logits, ids, axis=-1)
    others = np.exp(logits)
    np.put_along_axis(others, ids, 0.0, axis=-1)
    tiny = np.finfo(np.float32).tiny
    rest = np.log(np.maximum(others.sum(axis=-1, keepdims=True), tiny))
    found: NDArray[np.float64] = np.concatenate((chosen, rest), axis=-1) - total
    return found


def divergence(reference: NDArray[np.floating], found: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL divergence in nats ``[rows]`` of log probabilities ``[rows, top + 1]``; NaN stays NaN.

    ``sum p log(p / q) - p + q``: for probabilities that add up to 1 that is the usual formula, and
    rounding them to 32 bits moves it by the square of the error only.
    """
    p, q = reference.astype(np.float64), found.astype(np.float64)
    total: NDArray[np.float64] = (np.exp(p) * (p - q) - np.exp(p) + np.exp(q)).sum(axis=-1)
    return np.where(total < 0.0, 0.0, total)
