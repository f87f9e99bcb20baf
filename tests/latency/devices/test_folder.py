"""What an unfinished profile may be gone on with by."""

import pytest

from hwsearch.errors import InputError
from hwsearch.latency.devices.folder import SAME, Journal
from hwsearch.testing.device import formula_device
from tests.latency.prediction.test_predictor import GEOMETRY, WORK

FACTS = dict.fromkeys((*SAME, "hwsearch"), "one")


@pytest.fixture
def table():
    return formula_device(GEOMETRY, WORK).table


def test_a_run_goes_on_under_the_same_facts(tmp_path, table):
    Journal(tmp_path, "d", FACTS).keep(table)
    assert Journal(tmp_path, "d", FACTS | {"python": "any"}).read().keys() == table.samples.keys()


@pytest.mark.parametrize("fact", FACTS)
def test_a_run_under_other_facts_is_refused_by_name_of_what_differs(tmp_path, table, fact):
    Journal(tmp_path, "d", FACTS).keep(table)
    with pytest.raises(InputError, match=f"was timed with {fact} 'one', and this is 'two'"):
        Journal(tmp_path, "d", FACTS | {fact: "two"}).read()
