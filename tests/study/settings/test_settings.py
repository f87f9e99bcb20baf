"""Settings by keywords, by a study file and by flags are one value."""

import tomllib

import pytest
from click.testing import CliRunner

from hwsearch.cli.studies.search import command
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.study.settings import RunSettings, StudySettings, StudySpec
from hwsearch.study.settings.file import FIELDS
from hwsearch.study.settings.values import RunOptions, StudyOptions

CASES = [
    {"target_ratio": 0.5},
    {"objective": "front", "trials": 7, "sampler": "tpe", "seed": 3},
    {"objective": "energy", "target_joules": 2.0, "loss": "nll", "name": "n", "storage": "s.db"},
    {"target_ms": 4.0, "max_bytes": 9, "max_joules": 1.5, "pruner": "wilcoxon", "fidelity": 0.25},
    {"target_ms": 4.0, "finalists": 2, "problems": 30, "refine": "coarse"},
    {"target_ms": 4.0, "heartbeat_s": 5, "storage": "postgresql://host/studies"},
]


@pytest.mark.parametrize("given", CASES, ids=str)
def test_keywords_file_and_flags_give_equal_settings(given, tmp_path):
    wanted = StudySettings(**given)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    dry = ["--model", "m", "--device", "d", "--dry-run"]
    shown = CliRunner().invoke(command, dry + flags)
    assert shown.exit_code == 0, shown.output
    path = tmp_path / "study.toml"
    path.write_text(shown.output)
    again = StudySettings.merged(StudySpec.resolve(path, {}), {})
    assert again == wanted == StudySettings.merged(None, given)


def test_typed_keywords_are_the_fields_of_their_schemas():
    assert RunOptions.__annotations__.keys() == RunSettings.model_fields.keys()
    assert StudyOptions.__annotations__.keys() == StudySettings.model_fields.keys()
    assert set(FIELDS) == StudySettings.model_fields.keys() | ModelOptions.model_fields.keys()
    spec = {"model", "device", "space", *ModelOptions.model_fields}
    assert StudySpec.model_fields.keys() == StudySettings.model_fields.keys() | spec


def test_changes_win_and_a_target_replaces_one_of_another_kind():
    base = StudySettings(target_ms=3.0, trials=4)
    changed = StudySettings.merged(base, {"target_ratio": 0.5, "seed": 2})
    assert (changed.target_ms, changed.target_ratio) == (None, 0.5)
    assert (changed.trials, changed.seed, base.seed) == (4, 2, 0)


def test_a_loss_of_ones_own_is_taken_and_other_things_are_not():
    class Own:
        name, cost = "own", 1.0

        def loss(self, network, kept_shares):
            return 0.0

    own = Own()
    assert StudySettings(target_ratio=0.5, loss=own).loss is own
    with pytest.raises(InputError, match="loss: must be the name of a loss, or an object"):
        StudySettings(target_ratio=0.5, loss=3)
    with pytest.raises(UnknownNameError, match="unknown setting 'trails'; did you mean 'trials'"):
        StudySettings(target_ratio=0.5, trails=3)


def test_a_resolved_study_shows_the_same_keys_as_before():
    shown = tomllib.loads(StudySpec(model="m", device="d", target_ms=1.0).to_toml())
    assert list(shown) == [
        "model", "device", "target_ms", "objective", "sampler", "loss", "trials", "pruner",
        "fidelity", "finalists", "problems", "seed", "heartbeat_s", "space",
    ]  # fmt: skip
