"""README, run from top to bottom, in a file of its own: other pages run beside it."""

import pytest

from tests.docs.running import run_from_top_to_bottom


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    run_from_top_to_bottom(["README.md"], tmp_path)
