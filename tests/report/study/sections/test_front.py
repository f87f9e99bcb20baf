"""The section of the front, where there is none."""

from types import SimpleNamespace

import pandas as pd
import pytest

from hwsearch.report.study.section import MissingFactsError
from hwsearch.report.study.sections.front import front


@pytest.mark.parametrize(
    ("losses", "said"),
    [([], "No trial is finished"), ([float("inf")], "No trial has a finite loss")],
)
def test_a_front_without_plans_says_why(losses, said):
    facts = SimpleNamespace(
        frame=pd.DataFrame({"loss": losses}),
        front=pd.DataFrame({"number": []}),
        search_again=lambda: "hwsearch search --name s",
    )
    with pytest.raises(MissingFactsError, match=f"{said}.*--name s"):
        front(facts)
