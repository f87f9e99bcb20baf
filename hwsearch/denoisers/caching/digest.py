"""What a model is, by content: digests that stay the same wherever its folder lies.

The tensors in memory are hashed whole, by SHA-256, a tensor a thread (hashing leaves Python's lock).
Not the files: the same weights may be sharded otherwise, or come from no file at all, and what counts is
what was loaded. Not a sample of them: a fine-tune may change one matrix. SHA-256, since processors have
instructions for it: 1.3 GB a second and core on a Zen 3, where blake2b makes 0.5. An 8B model in bf16 takes
some 12 seconds of one core, against the hours of its search.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hwsearch.denoisers.caching.folder import CACHED_TEXT, cache_folder, write_whole
from hwsearch.denoisers.chat.asking import Infilling, Question
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import InputError
from hwsearch.files import FileKind, read_text
from hwsearch.files.kinds import MIB

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.network import LinearSizes

_SOURCE = FileKind("source", MIB)

#: Hexadecimal digits that are kept of a digest, and threads that hash.
DIGITS, THREADS = 32, 8


def text_digest(*texts: str) -> str:
    """Digest of some texts, in their order."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode(errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:DIGITS]


def weights_digest(network: nn.Module) -> str:
    """Digest of a network's tensors: names, types, shapes and bytes.

    Tensors that are one, such as those of a tied head, are hashed as if they were two.
    """
    known = _KNOWN.get(network)
    if known is not None:
        return known
    path = _STORED_AT.get(network)
    if path is None:
        return _weights_digest(network)
    _KNOWN[network] = digest = _digest_of_files(network, path)
    return digest


def stays_at(network: nn.Module, path: Path) -> None:
    """Say that a network's weights stay in files, where nothing changes them: a folder, or one file."""
    _STORED_AT[network] = path


#: Where weights stay, and digests of theirs.
_STORED_AT: WeakKeyDictionary[nn.Module, Path] = WeakKeyDictionary()
_KNOWN: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def _digest_of_files(network: nn.Module, path: Path) -> str:
    """The digest of weights that stay in files; on disk for files of the same names, sizes and times."""
    names = [f"{name} {tensor.dtype}" for name, tensor in sorted(network.state_dict().items())]
    known = (
        cache_folder() / "digests" / text_digest(code_digest(), files_seen(path), json.dumps(names))
    )
    with suppress(InputError):
        if len(digest := read_text(known, CACHED_TEXT)) == DIGITS:
            return digest
    digest = _weights_digest(network)
    write_whole(known, digest.encode())
    return digest


def files_seen(path: Path) -> str:
    """Names, sizes and times of a model's files: of a folder, or one file."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return json.dumps(
        [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    )


@cache
def code_digest() -> str:
    """Digest of hwsearch's own code."""
    package = Path(__file__).parents[2]
    files = sorted(package.rglob("*.py"))
    return text_digest(*(f"{f.relative_to(package)} {read_text(f, _SOURCE)}" for f in files))


def _weights_digest(network: nn.Module) -> str:
    tensors = dict(sorted(network.state_dict().items()))
    threads = min(THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(_tensor_digest, tensors.values())
        return text_digest(*(f"{name} {told}" for name, told in zip(tensors, found, strict=True)))


def _tensor_digest(tensor: Tensor) -> str:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest = hashlib.sha256()
    if flat.numel():
        digest.update(flat.view(torch.uint8).numpy().data)
    return f"{tensor.dtype} {list(tensor.shape)} {digest.hexdigest()[:DIGITS]}"


def settings_digest(denoiser: Denoiser) -> str:
    """Digest of what a model is beside its weights: sizes, special tokens, template, vocabulary."""
    vocabulary = sorted(denoiser.tokenizer.get_vocab(with_added_tokens=True).items())
    return text_digest(
        sizes_digest(denoiser),
        f"{denoiser.mask_token_id} {denoiser.end_token_id}",
        denoiser.prompt_template,
        denoiser.decoding.model_dump_json(),
        json.dumps(vocabulary),
    )


def sizes_digest(denoiser: Denoiser) -> str:
    """Digest of a model's sizes, on which its times depend."""
    if denoiser.is_cached:
        return geometry_digest(denoiser.geometry)
    from hwsearch.denoisers.network import linear_sizes

    sizes: LinearSizes = linear_sizes(denoiser.network)
    return text_digest(repr(sizes))


def geometry_digest(geometry: Geometry) -> str:
    """Digest of the sizes of a transformer."""
    return text_digest(json.dumps(asdict(geometry), sort_keys=True, default=str))


def questions_digest(denoiser: Denoiser, questions: Sequence[Question]) -> str:
    """Digest of questions, and of the tokens that the model reads them as; of suffixes, if there are any."""
    asked = [Infilling.of(question) for question in questions]
    given = [denoiser.given(question) for question in questions]
    texts = [[one.question for one in asked], [one.prompt for one in given]]
    if any(one.suffix for one in asked):
        texts += [[one.suffix for one in asked], [one.suffix for one in given]]
    return text_digest(*map(json.dumps, texts))
