"""Which packages a command loads: by names, not by seconds, which are the weather's."""

import json
import subprocess
import sys

import pytest

from hwsearch.denoisers.loading.config import read_config
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal
from hwsearch.study.run import run_study
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
        (["ls", "devices"], {"pandas"}),
        (["inspect", "gsm-mini"], set()),
        (["front", "s"], {"optuna", "pandas"}),
        (["front", "s", "--json"], {"optuna", "pandas"}),
        (["predict", "plan.json", "--device", "apple-m2"], {"pandas"}),
        (
            ["predict", "plan.json", "--device", "apple-m2", "--model", "gsm-mini", "--json"],
            {"pandas"},
        ),
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
            {"optuna", "pandas"},
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
