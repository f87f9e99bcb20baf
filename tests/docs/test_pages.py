"""Pages of the docs, run from top to bottom; README has a file of its own."""

import pytest

from tests.docs.running import PAGES_RUN, run_from_top_to_bottom

OTHERS = [page for page in PAGES_RUN if page != "README.md"]


@pytest.mark.slow
def test_they_run_from_top_to_bottom(tmp_path):
    assert len(OTHERS) == len(PAGES_RUN) - 1 > 20
    run_from_top_to_bottom(OTHERS, tmp_path)
