import os
from importlib.util import find_spec

import optuna
import pytest
import torch

from hwsearch.denoisers.caching.folder import CACHE_VARIABLE

# doctests are looked for in every file; this one's package is compiled for minutes, and not all have it
collect_ignore = [] if find_spec("llama_cpp") else ["llama_cpp_passes.py"]

# two threads fight over tiny matrices; one is quicker and the same everywhere
torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.WARNING)

# readline, which pytest loads, puts a terminal's size there: tables would be as narrow as it
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: left to the end, one process would run them and the other wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Results of this run alone, for all its tests; processes that share the work share them, too."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder
