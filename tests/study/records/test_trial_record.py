"""Trials that hwsearch cannot have written are told from those that it can."""

import optuna
import pytest
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY

from hwsearch.study.records.trial_record import check_trial


def trial(**system):
    return optuna.trial.create_trial(value=0.5, system_attrs=system)


def test_constraints_are_numbers_by_name():
    check_trial(trial(**{f"{_CONSTRAINTS_KEY}:generation_ms": -1.5}), 1)
    check_trial(trial(**{_CONSTRAINTS_KEY: [0.0, 2]}), 1)


@pytest.mark.parametrize("value", ["x", None, True, [1.0], {"a": 1}])
def test_a_constraint_that_is_no_number_is_told(value):
    with pytest.raises(ValueError, match="its constraint 'generation_ms' is no number"):
        check_trial(trial(**{f"{_CONSTRAINTS_KEY}:generation_ms": value}), 1)


@pytest.mark.parametrize("attributes", [{b"\xff": 1}, {_CONSTRAINTS_KEY: 3}])
def test_constraints_that_are_none_are_told(attributes):
    found = trial()
    found._system_attrs = attributes
    with pytest.raises(ValueError, match="has constraints that are not Optuna's"):
        check_trial(found, 1)


def test_a_trial_has_as_many_values_as_its_study():
    with pytest.raises(ValueError, match="has 1 values, and the study 2"):
        check_trial(trial(), 2)
