"""Where a model's files are: a bundled name, a folder, a GGUF file, or an id on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from hwsearch.errors import CheckpointError, UnknownNameError

#: The folder of the models that come with hwsearch, one folder a model.
BUNDLED = Path(__file__).parents[1] / "bundled"

#: What is fetched from the hub: never a pickle, never code.
HUB_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
)

#: Ending of files that hold a whole model in llama.cpp's layout.
GGUF = ".gguf"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def bundled_names() -> list[str]:
    """Names of the models that come with hwsearch."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))


def find_gguf(name_or_path: str | Path) -> Path | None:
    """The GGUF file that a name stands for: its path, or a folder that holds one and no ``config.json``.

    Raises:
        CheckpointError: there is no such file, or a folder holds several and nothing says which.
    """
    path = Path(name_or_path)
    if str(name_or_path) in bundled_names():
        return None
    if path.suffix.lower() == GGUF:
        if not path.is_file():
            raise CheckpointError(f"no such GGUF file: {path}")
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    found = sorted(path.glob(f"*{GGUF}"))
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise CheckpointError(f"{path} holds several GGUF files ({names}); give the path of one")
    return found[0] if found else None


def find_folder(name_or_path: str | Path, files: tuple[str, ...] = HUB_FILES) -> Path:
    """The folder that holds a model's files, fetched from the hub where it must be.

    Args:
        name_or_path: a bundled name, a folder, a file in it, or a hub id such as ``owner/model``.
        files: patterns of the files to fetch from the hub.

    Raises:
        UnknownNameError: nothing goes by that name.
        CheckpointError: the folder or the hub cannot be read.
    """
    name = str(name_or_path)
    path = Path(name_or_path)
    if name in bundled_names():
        return BUNDLED / name
    if path.is_dir():
        return path
    if path.is_file():
        _refuse_pickle(path)
        return path.parent
    if isinstance(name_or_path, Path) or name.startswith((".", "/", "~")):
        raise CheckpointError(f"no such model folder: {name}")
    if _HUB_ID.fullmatch(name):
        return _download(name, files)
    hint = "or give a folder, a GGUF file, or a hub id such as owner/model"
    raise UnknownNameError("model", name, bundled_names(), hint)


def _refuse_pickle(path: Path) -> None:
    if path.suffix in PICKLES:
        raise CheckpointError(f"{path}: {PICKLE_REASON}")


#: Endings of files that torch or numpy would unpickle.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
PICKLE_REASON = (
    "is a pickle, and reading a pickle can run any code in it; "
    "convert it to safetensors (safetensors.torch.save_file) and load that"
)


def _download(repo_id: str, files: tuple[str, ...]) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f"{repo_id} is no folder here, and fetching it from the hub needs huggingface-hub: "
            'pip install "hwsearch[hub]"'
        ) from error
    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot fetch {repo_id} from the hub ({reason}); check the name and the network, "
            "or give a folder that holds the model"
        ) from error
