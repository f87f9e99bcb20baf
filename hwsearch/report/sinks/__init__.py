"""How a model's attention sinks move: numbers with intervals, pictures, one page."""

from hwsearch.report.sinks.draw import draw_sinks
from hwsearch.report.sinks.measures import Finding, SinkMeasures, findings, measure_sinks
from hwsearch.report.sinks.page import write_page
from hwsearch.report.sinks.words import in_words

__all__ = [
    "Finding",
    "SinkMeasures",
    "draw_sinks",
    "findings",
    "in_words",
    "measure_sinks",
    "write_page",
]
