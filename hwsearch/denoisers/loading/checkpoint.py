"""Reading a model's tensors from safetensors files, under the names the transformer gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from hwsearch.denoisers.loading.json_fields import MODEL_JSON
from hwsearch.denoisers.loading.model_files import PICKLE_REASON, PICKLES
from hwsearch.errors import CheckpointError
from hwsearch.files import FileKind, check_inside, check_plain, read_json, refused_by
from hwsearch.files.kinds import GIB
from hwsearch.files.opening import is_file
from hwsearch.progress import each

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

#: A file of weights, which is mapped and not read.
WEIGHTS = FileKind("safetensors file", 4096 * GIB, CheckpointError, "fetch or convert it again")

HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"

#: Kinds of tensors that weights are stored as, by safetensors' names.
FLOATS = ("F32", "BF16", "F16", "F64")

_PREFIX = "model."

_LLADA_OUTSIDE = {
    "wte": "model.embed_tokens",
    "ln_f": "model.norm",
    "ff_out": "lm_head",
}
_LLADA_BLOCK = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
_LLADA_NAME = re.compile(r"(?:model\.)?transformer\.(?:blocks\.(\d+)\.)?(\w+)\.(weight|bias)")

#: Older Llama checkpoints store what the rotary embedding computes anyway.
_COMPUTED = re.compile(r"(?:.*\.)?rotary_emb\.inv_freq")


def llada_name(name: str) -> str:
    """The transformer's name of a LLaDA tensor; a name of another pattern as it is.

    >>> llada_name("model.transformer.blocks.3.ff_out.weight")
    'model.layers.3.mlp.down_proj.weight'
    """
    match = _LLADA_NAME.fullmatch(name)
    if not match:
        return name
    layer, part, kind = match.groups()
    if layer is None:
        return f"{_LLADA_OUTSIDE[part]}.{kind}" if part in _LLADA_OUTSIDE else name
    return f"model.layers.{layer}.{_LLADA_BLOCK[part]}.{kind}" if part in _LLADA_BLOCK else name


def read_tensors(
    files: Iterable[Path],
    family: str,
    wanted: Container[str],
    dtype: torch.dtype | None,
    device: torch.device,
) -> dict[str, Tensor]:
    """All tensors of safetensors files, memory-mapped, then converted one at a time.

    A tensor that several files hold is the last one's, as in transformers.

    Args:
        files: see `weight_files`.
        family: a name of `hwsearch.denoisers.loading.config.FAMILIES`; decides how tensors are called.
        wanted: the transformer's names; a stored name may have ``model.`` too much or too little.
        dtype: of the tensors returned; None leaves them as they are stored, in the file's own memory.
        device: of the tensors returned.

    Raises:
        CheckpointError: a file is damaged, or holds a tensor of another kind than floats.
    """
    rename: Callable[[str], str] = llada_name if family == "llada" else str
    tensors: dict[str, Tensor] = {}
    listed = list(files)
    for path in each(listed, "reading weights", len(listed)):
        check_plain(path, WEIGHTS)
        with (
            refused_by("safetensors", path, WEIGHTS),
            safe_open(path, framework="pt", device=str(device)) as shard,
        ):
            for stored in shard.keys():  # noqa: SIM118 - not a mapping
                if _COMPUTED.fullmatch(stored):
                    continue
                _check_floats(path, stored, shard.get_slice(stored).get_dtype())
                name = _prefixed(rename(stored), wanted)
                tensor = shard.get_tensor(stored)
                tensors[name] = tensor if dtype is None else tensor.to(dtype)
    return tensors


def stored_counts(files: Iterable[Path], family: str) -> dict[str, int] | None:
    """How many numbers each tensor of safetensors files has, by their headers; None if some are no floats.

    Args:
        files: see `weight_files`.
        family: decides how tensors are called, as in `read_tensors`.

    Raises:
        CheckpointError: a file is damaged.
    """
    rename: Callable[[str], str] = llada_name if family == "llada" else str
    counts = {}
    for path in files:
        check_plain(path, WEIGHTS)
        with refused_by("safetensors", path, WEIGHTS), safe_open(path, framework="numpy") as shard:
            for stored in shard.keys():  # noqa: SIM118 - not a mapping
                tensor = shard.get_slice(stored)
                if tensor.get_dtype() not in FLOATS:
                    return None
                if not _COMPUTED.fullmatch(stored):
                    counts[rename(stored)] = prod(tensor.get_shape())
    return counts


def _prefixed(name: str, wanted: Container[str]) -> str:
    """A name with or without ``model.``, as the transformer has it."""
    bare = name.removeprefix(_PREFIX)
    if bare != name and bare in wanted:
        return bare
    return _PREFIX + name if _PREFIX + name in wanted else name


def _check_floats(path: Path, name: str, kind: str) -> None:
    if kind not in FLOATS:
        raise CheckpointError(
            f"{path}: {name} is stored as {kind}, but weights must be one of {', '.join(FLOATS)}; "
            "give the checkpoint that was not quantised"
        )


def weight_files(folder: Path, named: str | None = None) -> list[Path]:
    """The safetensors files of a model folder that count, as transformers chooses them.

    A whole ``model.safetensors`` counts before an index, which may be of an earlier save; an index
    before all other files.

    Args:
        folder: the model's.
        named: the file or index that its config names, which counts before both.

    Raises:
        CheckpointError: there is none, or one that the index names is missing.
    """
    for name in (WHOLE, INDEX) if named is None else (named,):
        path = folder / name
        if path.is_file():
            return _indexed(path) if name.endswith(".index.json") else [path]
    if named is not None:
        raise CheckpointError(f"{folder}: the config names its weights {named}, which is missing")
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLES:
            raise CheckpointError(f"{path}: {PICKLE_REASON}")
    others = ", ".join(sorted(path.name for path in folder.glob("*.safetensors")))
    raise CheckpointError(
        f"{folder} holds no weights: {WHOLE} or {INDEX} is missing"
        + (f"; rename the one that counts of {others} to {WHOLE}" if others else "")
    )


def _indexed(path: Path) -> list[Path]:
    folder = path.parent
    record = read_json(path, MODEL_JSON)
    listed = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise CheckpointError(f"{path}: must hold a weight_map, from tensors to names of files")
    names = sorted(set(listed.values()))
    for name in names:
        if Path(check_inside(folder, name, WEIGHTS)).parent != folder:
            raise CheckpointError(f"{path}: {name!r} is not the name of a file beside it")
        if Path(name).suffix in PICKLES:
            raise CheckpointError(f"{folder / name}: {PICKLE_REASON}")
        if not is_file(folder / name):
            raise CheckpointError(f"{path} names {name}, which is missing")
    return [folder / name for name in names]


def tie(tensors: dict[str, Tensor], family: str, where: object) -> bool:
    """Fill in the embedding or the head of a model whose config ties them; whether they are tied.

    What is stored decides, as in transformers: one alone serves as both, and two that differ stay
    two. LLaDA's own code knows no head beside a tied embedding, so there they must be equal.

    Raises:
        CheckpointError: a LLaDA holds a head that is not its embedding.
    """
    import torch

    if family == "llada":
        head = tensors.get(HEAD)
        if head is not None and not (
            EMBEDDING in tensors and torch.equal(head, tensors[EMBEDDING])
        ):
            raise CheckpointError(
                f"{where}: {HEAD} differs from {EMBEDDING}, but the config ties them; "
                "set weight_tying to false in config.json if the head is its own"
            )
    for one, other in ((EMBEDDING, HEAD), (HEAD, EMBEDDING)):
        if one in tensors:
            tensors.setdefault(other, tensors[one])
    return HEAD not in tensors or torch.equal(tensors[HEAD], tensors[EMBEDDING])


def check_tensors(
    found: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]], where: object
) -> None:
    """Check that a checkpoint holds just the wanted tensors, in the shapes the config implies.

    Args:
        found: shapes of its tensors by name.
        wanted: those that there should be.
        where: what errors call the checkpoint.

    Raises:
        CheckpointError: it does not; the message names the tensors.
    """
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing:
        raise CheckpointError(f"{where}: missing {_listing(missing)}; is the config of this model?")
    if extra:
        raise CheckpointError(f"{where}: no place for {_listing(extra)} in a model of this config")
    for name, shape in wanted.items():
        if tuple(found[name]) != tuple(shape):
            raise CheckpointError(
                f"{where}: {name} is {list(found[name])}, but the config makes it {list(shape)}"
            )


def _listing(names: Iterable[str], most: int = 3) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    kind = "tensor" if len(names) == 1 else "tensors"
    return f"{kind} {', '.join(names[:most])}{more}"
