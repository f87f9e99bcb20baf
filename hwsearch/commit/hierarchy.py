"""Hierarchy: write the middle of each gap, and so break it into smaller ones."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hwsearch.commit.policy import Candidates, CommitPolicy, Mask, Share


class Hierarchy(CommitPolicy):
    """Writes every mask above `threshold`, and the best of each run of masks if above `low`.

    Idea: tokens far apart depend on each other less than neighbours do, so one token of each run may
    be written with less certainty. Source: hierarchical decoding of dInfer (arXiv 2510.08666), released
    code.

    Attributes:
        threshold: probability above which any token is written.
        low: probability above which the best of a run is written.
    """

    policy: Literal["hierarchy"] = "hierarchy"
    threshold: Share = 0.9
    low: Share = 0.4

    def chosen(self, candidates: Candidates) -> Mask:
        """Those above the threshold, and the best of each run."""
        confidence = np.where(candidates.masked, candidates.confidence, -np.inf)
        best = np.zeros_like(candidates.masked)
        for row, (masked, worth) in enumerate(zip(candidates.masked, confidence, strict=True)):
            edges = np.flatnonzero(np.diff(np.r_[False, masked, False].astype(np.int8)))
            for start, stop in edges.reshape(-1, 2):
                best[row, start + int(worth[start:stop].argmax())] = True
        return (confidence > self.threshold) | (best & (confidence > self.low))
