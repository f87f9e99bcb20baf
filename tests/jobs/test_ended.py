"""Work that is killed, interrupted or asked to end at any write: the next run ends as if nothing had been."""

import pytest

from tests.jobs.ended_jobs import JOBS, Endings
from tests.killing import ENDS

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    known = {}

    def of(name):
        if name not in known:
            known[name] = Endings(name, tmp_path_factory.mktemp("ended") / "home")
        return known[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "end"), [(name, end) for name, job in JOBS.items() for end in ENDS if end in job.ends]
)
def test_what_is_ended_at_a_write_is_gone_on_with(endings, name, end):
    job = endings(name)
    points = job.points(end)
    assert len(points) >= job.job.ends[end]
    for at in points:
        job.end_at(at, end)
