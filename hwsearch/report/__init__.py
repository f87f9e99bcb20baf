"""Studies → pictures."""

from hwsearch.report.front import draw_front

__all__ = ["draw_front"]
