"""Studies where nothing may be written, and disks that are full: real ones, where a test may mount them."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from hwsearch.cli.main import reported
from hwsearch.errors import StudyError
from hwsearch.study import Goal, load_study
from hwsearch.study.run import run_study
from tests.killing import in_child
from tests.study.test_killed import Quick
from tests.study.test_run import make_objective


@contextmanager
def mounted(folder, *options):
    """A file system of its own; skips where a test may not mount one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    is_root = os.geteuid() == 0 and shutil.which("mount") is not None
    if not is_root or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def quick():
    objective = make_objective(Goal(target_ratio=0.6))
    object.__setattr__(objective, "loss_function", Quick())
    return objective


def run(quick, path, trials=6):
    return run_study(quick, trials=trials, name="s", storage=str(path), sampler="random")


def test_a_study_on_a_read_only_disk_is_read_and_not_searched(quick, tmp_path):
    with mounted(tmp_path / "disk", "size=8m") as disk:
        # in another process, since this one would keep the file open
        assert in_child(lambda: run(quick, disk / "s.db")) == 0
        there = sorted(path.name for path in disk.iterdir())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert len(load_study("s", str(disk / "s.db")).frame()) == 6
        with pytest.raises(StudyError, match=r"s\.db cannot be written: .* read-only"):
            run(quick, disk / "s.db", trials=8)
        with pytest.raises(StudyError, match="cannot be written"):
            run(quick, disk / "other.db")
        assert sorted(path.name for path in disk.iterdir()) == there


def test_a_study_of_somebody_else_is_read_and_not_searched(quick, tmp_path):
    run(quick, tmp_path / "s.db")
    (tmp_path / "s.db").chmod(0o444)
    tmp_path.chmod(0o555)

    def search() -> None:
        if os.geteuid() == 0:
            os.chdir("/")
            os.setuid(65534)
        assert len(load_study("s", str(tmp_path / "s.db")).frame()) == 6
        run(quick, tmp_path / "s.db", trials=8)

    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    assert in_child(lambda: reported(search)) == 2
    tmp_path.chmod(0o755)
    (tmp_path / "s.db").chmod(0o644)
    assert len(run(quick, tmp_path / "s.db", trials=8).frame()) == 8


def test_a_disk_that_fills_loses_nothing(quick, tmp_path):
    with mounted(tmp_path / "disk", "size=768k") as disk:
        assert in_child(lambda: reported(lambda: run(quick, disk / "s.db", trials=400))) == 2
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        done = len(load_study("s", str(disk / "s.db")).frame())
        assert 0 < done < 400
        again = run(quick, disk / "s.db", trials=done + 4)
        assert len(again.frame()) == again.frame()["plan"].nunique() == done + 4


def test_a_disk_that_fills_as_a_loss_is_written_is_one_line(quick, tmp_path, monkeypatch):
    write = RDBStorage.set_trial_state_values

    def full(self, trial_id, state, values=None):
        if state == TrialState.COMPLETE:
            raise StorageInternalError("disk is full")
        return write(self, trial_id, state, values)

    with monkeypatch.context() as patched:
        patched.setattr(RDBStorage, "set_trial_state_values", full)
        with pytest.raises(StudyError, match="cannot be written: disk is full; make room"):
            run(quick, tmp_path / "s.db", trials=4)
    assert len(run(quick, tmp_path / "s.db", trials=4).frame()) >= 4
