"""Build wheel and sdist, install them in clean environments, and use what was installed.

    python release/check_packages.py [EXTRA ...]

Without names it does what CI does: `search`, the base package, and every other extra on top of
`search`, one after the other. With names each of them gets an environment of its own with `search`, and
nothing else is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUESTION = "Tom has 3 bags with 4 apples each. He eats 2. How many are left?"

#: What a base install may download, and what it may then take on disk (pip left out), without and with the
#: bytecode that pip makes. More than half of it is onnxruntime and numpy, which no bundle runs without.
MOST_DOWNLOADED_MB, MOST_INSTALLED_MB, MOST_COMPILED_MB = 100, 225, 270

#: What nobody who runs bundles should have to install.
ABSENT = {"torch", "transformers", "optuna", "onnx", "pandas", "scipy"}

#: Extras that are compiled for minutes where they are installed; only by name.
SLOW = {"llama-cpp"}

#: Each extra, and what shows that it works: a command, or modules that must open.
USES: dict[str, str] = {
    "hub": "import huggingface_hub, transformers",
    "gguf": "hwsearch export --model gsm-mini --plan plan.json --to gguf -o gguf",
    "compressed-tensors": "import compressed_tensors",
    "report": "import matplotlib.pyplot",
    "analytical": "hwsearch analytical digits --points 200 --steps 3 --no-cost -o drawn",
    "postgresql": "import psycopg; psycopg.pq.version()",
    "dashboard": "import optuna_dashboard",
    "llama-cpp": "import llama_cpp",
    "lm-eval": "import hwsearch.jobs.lm_harness.model, lm_eval",
}


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the folder in which its commands run."""

    folder: Path
    place: Path

    @classmethod
    def made(cls, folder: Path) -> Environment:
        """A new one, with pip alone."""
        venv.create(folder, with_pip=True, clear=True)
        place = folder / "work"
        place.mkdir()
        return cls(folder, place)

    def install(self, *what: str) -> None:
        """Install by pip, with the versions that were tested."""
        constraints = str(ROOT / "constraints.txt")
        self.python(
            "-m", "pip", "install", "--quiet", "--no-warn-conflicts", "-c", constraints, *what
        )
        self.python("-m", "pip", "check")

    def python(self, *arguments: str) -> str:
        """What its Python prints."""
        return called([str(self.folder / "bin" / "python"), *arguments], self.place)

    def hwsearch(self, *arguments: str, code: int = 0) -> str:
        """What its command prints, which must end with `code`."""
        return called([str(self.folder / "bin" / "hwsearch"), *arguments], self.place, code)

    def packages(self) -> set[str]:
        """Names of what is installed."""
        return {
            each["name"] for each in json.loads(self.python("-m", "pip", "list", "--format=json"))
        }

    def installed_mb(self, bytecode: bool = False) -> float:
        """What lies in site-packages, with bytecode or not, without pip and setuptools."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
        files = (path for path in site.rglob("*") if path.is_file())
        files = (path for path in files if bytecode or path.suffix != ".pyc")
        own = (path for path in files if not path.relative_to(site).parts[0].startswith(tools))
        return sum(path.stat().st_size for path in own) / 1e6


def called(command: list[str], place: Path, code: int = 0) -> str:
    """Output and errors of a command that sees this environment's packages and no others."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HWSEARCH_CACHE": str(place / "cache"), "HWSEARCH_QUESTIONS": "2"}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != code:
        said = f"{done.stdout}\n{done.stderr}"
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}, not {code}:\n{said}")
    return done.stdout + done.stderr


def require(holds: bool, said: str) -> None:
    """Print what was found, and end where it does not hold."""
    print(("ok    " if holds else "WRONG ") + said, flush=True)
    if not holds:
        raise SystemExit(1)


def build(out: Path) -> tuple[Path, Path]:
    """The wheel, built from the sdist, and the sdist."""
    called([sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)], ROOT)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def tracked() -> set[str]:
    """Files that git knows, which are all that a release is made of."""
    return set(called(["git", "ls-files"], ROOT).splitlines())


def check_sdist(path: Path) -> None:
    """It holds what git knows, and nothing else: no caches, databases or notes."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if "/" in name}
    differing(names - {"PKG-INFO"}, tracked(), path)


def check_wheel(path: Path) -> None:
    """It holds the package and the latency tables; its types are marked."""
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    known = tracked()
    wanted = {name for name in known if name.startswith("hwsearch/")}
    wanted |= {f"hwsearch/{name}" for name in known if name.startswith("latency_tables/")}
    differing(names, wanted, path)
    require("hwsearch/py.typed" in names, "the wheel says that it has types")


def differing(names: Iterable[str], wanted: Iterable[str], path: Path) -> None:
    """End where an archive lacks a file, or has one too many."""
    more, less = sorted(set(names) - set(wanted)), sorted(set(wanted) - set(names))
    size = path.stat().st_size / 1e6
    require(not more and not less, f"{path.name}, {size:.1f} MB: too many {more}, missing {less}")


def check_base(wheel: Path, folder: Path, bundle: Path, answered: str) -> None:
    """The base package, which is the extra `runtime`, answers by a bundle without torch."""
    base = Environment.made(folder)
    wheels = folder / "wheels"
    constraints = str(ROOT / "constraints.txt")
    base.python(
        "-m", "pip", "download", "--quiet", "-d", str(wheels), "-c", constraints, str(wheel)
    )
    downloaded = sum(path.stat().st_size for path in wheels.iterdir()) / 1e6
    base.install("--no-index", "--find-links", str(wheels), str(wheel))
    found = base.packages()
    require(
        not found & ABSENT, f"the base package brings {len(found)} others, none of {sorted(ABSENT)}"
    )
    require(downloaded < MOST_DOWNLOADED_MB, f"it downloads {downloaded:.0f} MB")
    installed = base.installed_mb()
    require(installed < MOST_INSTALLED_MB, f"it takes {installed:.0f} MB on disk, without bytecode")
    compiled = base.installed_mb(bytecode=True)
    require(compiled < MOST_COMPILED_MB, f"and {compiled:.0f} MB with it")
    base.install("--no-index", "--find-links", str(wheels), f"{wheel}[runtime]")
    require(base.packages() == found, "the extra `runtime` brings nothing more")
    check_command(base, wheel)
    text = base.hwsearch("generate", str(bundle), QUESTION)
    require(text == answered, f"a bundle answers without torch as with it: {text.strip()!r}")
    said = base.hwsearch("search", "study.toml", code=2)
    require('"hwsearch[search]"' in said, f"a search says what it lacks: {said.strip()}")


def check_command(environment: Environment, wheel: Path) -> None:
    """The command says its version, and knows its models."""
    version = wheel.name.split("-")[1]
    said = environment.hwsearch("--version").strip()
    require(said.endswith(f" {version}"), said)
    names = {each["name"] for each in json.loads(environment.hwsearch("ls", "models", "--json"))}
    require("gsm-mini" in names, f"models: {', '.join(sorted(names))}")


def check_search(wheel: Path, folder: Path) -> tuple[Environment, Path, str]:
    """The whole tool: devices, a plan's prediction, an export; its bundle and what that answers."""
    tool = Environment.made(folder)
    tool.install(f"{wheel}[search]")
    check_command(tool, wheel)
    write_plan(tool)
    require("cpu" in tool.hwsearch("ls", "devices"), "its devices are there")
    tool.hwsearch(
        "export", "--model", "gsm-mini", "--plan", "plan.json", "--references", "1", "-o", "out"
    )
    text = tool.hwsearch("generate", "out", QUESTION)
    require(bool(text.strip()), f"an exported plan answers: {text.strip()!r}")
    return tool, tool.place / "out", text


def write_plan(environment: Environment) -> None:
    """A plan of 8 bits for the bundled model."""
    plan = "hw.CompressionPlan.uniform(6, attention='w8', mlp='w8', head='w8').to_json()"
    environment.python("-c", f"import hwsearch as hw; open('plan.json', 'w').write({plan})")


def check_types(environment: Environment) -> None:
    """A user's script that mypy holds to its strict rules."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable"]
    python = str(environment.folder / "bin" / "python")
    script = shutil.copy(ROOT / "release" / "typed_script.py", environment.place)
    said = called(
        [*mypy, python, "--cache-dir", str(environment.place / "mypy"), script], environment.place
    )
    require("no issues found" in said, f"a user's typed script: {said.strip()}")


def check_extra(environment: Environment, wheel: Path, extra: str, use: str) -> None:
    """One extra does what it is for."""
    environment.install(f"{wheel}[{extra}]")
    write_plan(environment)
    if use.startswith("hwsearch "):
        environment.hwsearch(*use.split()[1:])
    else:
        environment.python("-c", use)
    require(True, f"extra {extra}: {use}")


def main() -> None:
    """Build, and check what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=", ".join(USES))
    chosen = parser.parse_args().extras
    with tempfile.TemporaryDirectory(prefix="hwsearch-packages-") as temporary:
        room = Path(temporary)
        wheel, sdist = build(room / "dist")
        check_sdist(sdist)
        check_wheel(wheel)
        if chosen:
            for extra in chosen:
                alone = Environment.made(room / extra)
                check_extra(alone, wheel, f"search,{extra}", USES[extra])
            return
        tool, bundle, answered = check_search(wheel, room / "search")
        check_base(wheel, room / "base", bundle, answered)
        check_types(tool)
        for extra in sorted(USES.keys() - SLOW):
            check_extra(tool, wheel, extra, USES[extra])


if __name__ == "__main__":
    main()
