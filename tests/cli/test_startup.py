"""Which packages a command loads: by names, not by seconds, which are the weather's."""

import json
import os
import subprocess
import sys

import pytest

from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.denoisers.loading.config import read_config
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal
from hwsearch.study.run import run_study
from hwsearch.tasks.choice import QUESTIONS_VARIABLE
from tests.study.test_killed import Quick
from tests.study.test_run import make_objective

HEAVY = ("torch", "transformers", "optuna", "onnx", "onnxruntime", "pandas", "scipy", "matplotlib")

CODE = f"""
import json, sys
from hwsearch.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a study, and a plan whose passes its schedule says."""
    folder = tmp_path_factory.mktemp("startup")
    objective = make_objective(Goal(target_ratio=0.6))
    object.__setattr__(objective, "loss_function", Quick())
    (folder / "studies").mkdir()
    storage = str(folder / "studies" / "s.db")
    run_study(objective, trials=4, name="s", storage=storage, sampler="random")
    layers = read_config("gsm-mini").geometry.num_layers
    (folder / "plan.json").write_text(
        CompressionPlan.uniform(layers, "w8", "w4", head="w8").to_json()
    )
    return folder


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["search", "--help"], set()),
        (["completion", "bash"], set()),
        (["ls", "models"], set()),
        (["ls", "studies"], set()),
        (["ls", "devices"], set()),
        (["inspect", "gsm-mini"], set()),
        (["front", "s"], {"optuna"}),
        (["front", "s", "--json"], {"optuna"}),
        (["front", "s", "--format", "csv"], {"optuna", "pandas"}),
        (["front", "s", "--target-ms", "1e9"], {"optuna", "scipy"}),
        (["predict", "plan.json", "--device", "apple-m2"], set()),
        (["predict", "plan.json", "--device", "apple-m2", "--model", "gsm-mini", "--json"], set()),
        (
            [
                "search",
                "--model",
                "gsm-mini",
                "--device",
                "apple-m2",
                "--target-ratio",
                "0.5",
                "--dry-run",
            ],
            {"optuna"},
        ),
    ],
)
def test_a_command_loads_what_it_needs(folder, arguments, allowed):
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stderr.splitlines()[-1])) <= allowed


def predicted(folder, cache):
    """What predict says of a plan whose passes the text decides, and which packages it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, "predict", "careful.json", "--device", "apple-m2", "--json"],
        cwd=folder,
        env={**os.environ, CACHE_VARIABLE: str(cache), QUESTIONS_VARIABLE: "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), set(json.loads(done.stderr.splitlines()[-1]))


def test_passes_that_were_counted_are_found_without_torch(folder, tmp_path):
    config = read_config("gsm-mini")
    changes = {"commit": {"policy": "threshold", "threshold": 0.9}, "stop_at_end": True}
    decoding = config.decoding.changed(changes)
    plan = CompressionPlan.uniform(config.geometry.num_layers, "w8", "w4", head="w8")
    plan = plan.model_copy(update={"decoding": decoding})
    (folder / "careful.json").write_text(plan.to_json())
    counted, loaded = predicted(folder, tmp_path)
    assert "torch" in loaded
    found, loaded = predicted(folder, tmp_path)
    assert found == counted and loaded == set()
    for path in tmp_path.glob("passes/*.json"):
        path.write_text("{}")
    again, loaded = predicted(folder, tmp_path)
    assert again == counted and "torch" in loaded, "a damaged file is made again"


LOADS = """
import sys
from hwsearch.denoisers.large import memory
from hwsearch.denoisers.loading.loader import load_denoiser
for share in (1.0, 0.0):
    memory.COPIES_SHARE = share
    load_denoiser("gsm-mini")
print([name for name in ("torch", "torch._dynamo", "transformers") if name in sys.modules])
"""


def test_a_model_is_loaded_without_torchs_compiler():
    """Copied, and left in its files: the compiler alone takes a second to load."""
    done = subprocess.run(
        [sys.executable, "-c", LOADS], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['torch']\n", done.stderr
