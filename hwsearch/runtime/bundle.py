"""What a bundle folder holds, and whether it still holds exactly that.

A bundle is a folder with `BUNDLE_FILE` and the files whose checksums it lists. `BUNDLE_FILE`
carries its own seal: the SHA-256 of its bytes, taken while the seal reads as zeros. So one changed
byte in any file, whitespace included, is noticed and the file named.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from hwsearch.decoding.kept import KeptShares, StaticScores
from hwsearch.denoisers.chat.asking import Asks, Infilling, Question, checked_template
from hwsearch.errors import InputError, VerificationError
from hwsearch.files import FileKind, check_inside, checked, open_plain, parse_json, read_bytes
from hwsearch.files.kinds import GIB, MIB
from hwsearch.files.opening import check_unlinked, is_folder
from hwsearch.plan import CachePolicy, CompressionPlan, Decoding
from hwsearch.runtime.guards.graph_file import check_graph
from hwsearch.schema import MOST_LAYERS, MOST_WIDTH, Frozen, OmitsDefaults, explain

BUNDLE_FILE = "bundle.json"
REFRESH_FILE = "refresh.onnx"
STEP_FILE = "step.onnx"
WEIGHTS_FILE = "weights.bin"
PLAN_FILE = "plan.json"
TOKENIZER_FILE = "tokenizer.json"

#: Beside `FILES` where there were questions to ask: `hwsearch.runtime.reference`.
REFERENCE_FILE = "reference.npz"

#: Beside `FILES` where the decoding foresees passes: `hwsearch.forecast.store`.
FORECAST_FILE = "forecast.npz"

#: What an export writes beside `BUNDLE_FILE`; the graphs point into the weights.
FILES = (REFRESH_FILE, STEP_FILE, WEIGHTS_FILE, PLAN_FILE, TOKENIZER_FILE)

#: What no bundle is without; earlier ones hold their weights in their graphs.
_ALWAYS = (REFRESH_FILE, PLAN_FILE, TOKENIZER_FILE)

SCHEMA_VERSION: Final = 1

_AGAIN = "export the bundle again"

#: The file that says what a bundle is, and any other file of it.
MANIFEST_FILE: Final = FileKind(BUNDLE_FILE, 64 * MIB, InputError, _AGAIN)
BUNDLED_FILE: Final = FileKind("file of a bundle", 4096 * GIB, VerificationError, _AGAIN)

_UNSEALED = "0" * 64
_SEAL = re.compile(rb'"seal": "([0-9a-f]{64})"')
_BROKEN = "it was changed or damaged after the export; export the bundle again"

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Token = Annotated[int, Field(ge=0, lt=1 << 31)]


class Reference(OmitsDefaults):
    """What torch generated before the export.

    Attributes:
        question: what was asked.
        tokens: the generated ones, all that was given left out.
        suffix: text that was given behind them.
    """

    _omitted_defaults: ClassVar[frozenset[str]] = frozenset({"suffix"})

    question: str
    tokens: tuple[Token, ...]
    suffix: str = ""

    @property
    def asked(self) -> Question:
        """The question, with its suffix where it has one."""
        return Infilling(self.question, self.suffix).shortest


class Chat(Frozen):
    """An instruct model's chat template: its jinja text, and the special tokens it may name."""

    source: str
    tokens: dict[str, str] = Field(default_factory=dict)


class Figures(Frozen):
    """What was predicted and measured; None is unknown. Keys beyond these are kept as they are.

    Attributes:
        predicted_ms, measured_ms, target_ms: one generation, predicted, measured, asked for.
        accuracy, accuracy_interval: share of test problems solved, and its confidence interval.
        size_bytes: all files but `BUNDLE_FILE` together.
        task: what was asked for the accuracy, as `hwsearch.tasks.choice.TaskChoice` names it.
        device: name of the device the milliseconds belong to.
        prompt_length: tokens of the prompt that the milliseconds are for.
        predicted_passes, measured_passes: forward passes of one generation, in the mean over problems.
        reference_ms: a fixed piece of arithmetic, timed beside `measured_ms`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    predicted_ms: float | None = None
    measured_ms: float | None = None
    target_ms: float | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    size_bytes: int | None = None
    task: dict[str, str | int | bool | None] | None = None
    device: str | None = None
    prompt_length: int | None = None
    predicted_passes: float | None = None
    measured_passes: float | None = None
    reference_ms: float | None = None


class Manifest(Frozen):
    """The content of `BUNDLE_FILE`.

    Attributes:
        seal: SHA-256 of the file, see the module's docstring.
        model: name of the denoiser.
        runtime: what its graphs were written for, a provider by name: the only one that it runs on.
        versions: package to version, as at the export.
        passes: ``cached``, or ``full`` for a model of one's own, which has no step graph.
        layers, kv_heads, head_dim: sizes of the cache; the last two are None where there is none. A
            layer that was pruned has fewer heads.
        mask_token_id: the token that stands for "not written yet".
        end_token_id: the token that fills a generation after its end.
        end_token_ids: more tokens that end an answer.
        prompt_template: text around ``{question}``.
        chat: how a conversation is written for the model; None for one that is not tuned to chat.
        decoding: lengths and passes of a generation.
        kept_shares: for each layer, the share of cached positions it keeps.
        cache: by which rule, and when more or less of them.
        static: scores of positions calibrated beforehand, where the rule asks for them.
        sha256: checksum of every other file.
        reference: generations of torch to compare with.
        asks: how their questions are asked.
        figures: what was predicted and measured.
    """

    seal: Digest = _UNSEALED
    schema_version: Literal[1] = SCHEMA_VERSION
    model: str
    runtime: str = "onnxruntime-cpu"
    versions: dict[str, str]
    passes: Literal["cached", "full"] = "cached"
    layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)]
    kv_heads: Annotated[int, Field(ge=1, le=MOST_WIDTH)] | None
    head_dim: Annotated[int, Field(ge=1, le=MOST_WIDTH)] | None
    mask_token_id: Token
    end_token_id: Token
    end_token_ids: Annotated[tuple[Token, ...], Field(max_length=1000)] = ()
    prompt_template: Annotated[str, AfterValidator(checked_template)]
    chat: Chat | None = None
    decoding: Decoding
    kept_shares: Annotated[tuple[Share, ...], Field(max_length=MOST_LAYERS)]
    cache: CachePolicy = CachePolicy()
    static: StaticScores | None = None
    sha256: Annotated[dict[str, Digest], Field(max_length=100)]
    reference: tuple[Reference, ...] = ()
    asks: Asks = "template"
    figures: Figures = Figures()


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose files are as they were written.

    Attributes:
        path: the folder.
        manifest: the content of its `BUNDLE_FILE`.
    """

    path: Path
    manifest: Manifest

    @property
    def kept_shares(self) -> KeptShares:
        """How much of the cache each layer keeps, and by which rule."""
        m = self.manifest
        return KeptShares(m.kept_shares, m.cache, m.decoding.refreshes, m.static)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files but `BUNDLE_FILE`."""
        return sum((self.path / name).stat().st_size for name in self.manifest.sha256)


def owner_of(plan: CompressionPlan, decoding: Decoding) -> str:
    """What a forecast belongs to, by digest: it is of no use to another plan, or decoded otherwise."""
    text = plan.to_json() + decoding.model_dump_json()
    return hashlib.sha256(text.encode()).hexdigest()


def read_bundle(path: Path | str) -> Bundle:
    """Open a bundle folder and check every file in it.

    Raises:
        InputError: there is no such folder, or it holds no `BUNDLE_FILE`, or that file does not
            follow the schema (the message names the key).
        VerificationError: a file is missing or was changed; the message names it.
    """
    path = Path(path)
    content = _read_manifest_bytes(path)
    _check_seal(content, path / BUNDLE_FILE)
    where = path / BUNDLE_FILE
    manifest = checked(Manifest, parse_json(content, where, MANIFEST_FILE), where, MANIFEST_FILE)
    if len(manifest.kept_shares) != manifest.layers:
        raise InputError(
            f"{path / BUNDLE_FILE}: kept_shares: must name one share for each of the "
            f"{manifest.layers} layers, got {len(manifest.kept_shares)}"
        )
    static = manifest.static
    if static is not None and {len(static.first), len(static.from_end)} != {manifest.layers}:
        raise MANIFEST_FILE.refuse(where, f"static: must be of the {manifest.layers} layers")
    _check_listed(path, manifest)
    for name in sorted({*_ALWAYS, *manifest.sha256}):
        _check_file(path, name, manifest.sha256.get(name))
    sizes = {name: (path / name).stat().st_size for name in manifest.sha256}
    for name in sizes:
        if name.endswith(".onnx"):
            check_graph(path / name, sizes)
    return Bundle(path, manifest)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `BUNDLE_FILE` into a folder, sealed, replacing one that is there in a single move."""
    text = manifest.model_copy(update={"seal": _UNSEALED}).model_dump_json(indent=2) + "\n"
    seal = hashlib.sha256(text.encode()).hexdigest()
    sealed = text.replace(f'"seal": "{_UNSEALED}"', f'"seal": "{seal}"', 1)
    handle, temporary = tempfile.mkstemp(dir=path, prefix=f".{BUNDLE_FILE}.")
    with os.fdopen(handle, "wb") as file:
        file.write(sealed.encode())
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path / BUNDLE_FILE)


def record_figures(path: Path | str, **figures: object) -> Bundle:
    """Add figures to a bundle's `BUNDLE_FILE`; the others stay. Raises as `read_bundle` does.

    Raises:
        InputError: a figure is not of its type; the message names it.
    """
    bundle = read_bundle(path)
    known = bundle.manifest.figures.model_dump()
    try:
        updated = Figures.model_validate({**known, **figures})
    except ValidationError as error:
        raise InputError(f"figures: {explain(error)}") from error
    manifest = bundle.manifest.model_copy(update={"figures": updated})
    write_manifest(bundle.path, manifest)
    return read_bundle(bundle.path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open_plain(path, BUNDLED_FILE) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest_bytes(path: Path) -> bytes:
    if not is_folder(path):
        raise InputError(f"{path}: no such bundle folder; `hwsearch export` writes one")
    if not (path / BUNDLE_FILE).exists():
        raise InputError(f"{path}: not a bundle, it holds no {BUNDLE_FILE}")
    return read_bytes(path / BUNDLE_FILE, MANIFEST_FILE)


def _check_seal(content: bytes, path: Path) -> None:
    found = _SEAL.search(content)
    if found is not None:
        unsealed = _SEAL.sub(f'"seal": "{_UNSEALED}"'.encode(), content, count=1)
        if hashlib.sha256(unsealed).hexdigest().encode() == found.group(1):
            return
    raise VerificationError(f"{path}: its seal does not match its content: {_BROKEN}")


def _check_listed(path: Path, manifest: Manifest) -> None:
    """Refuse names that lead elsewhere, and files that the bundle would read and does not list."""
    for name in manifest.sha256:
        if check_inside(path, name, BUNDLED_FILE).parent != path:
            raise BUNDLED_FILE.refuse(path, f"files of a bundle lie in its folder, got {name!r}")
    needed = {STEP_FILE} if manifest.passes == "cached" else set()
    needed |= {FORECAST_FILE} if manifest.decoding.forecast is not None else set()
    for name in sorted(needed - manifest.sha256.keys()):
        raise VerificationError(f"{path / name}: {BUNDLE_FILE} does not list it; {_BROKEN}")
    for name in sorted({*FILES, REFERENCE_FILE, FORECAST_FILE} - manifest.sha256.keys()):
        if (path / name).exists() or (path / name).is_symlink():
            raise VerificationError(
                f"{path / name}: {BUNDLE_FILE} does not list it, so it is of another bundle; remove it"
            )


def _check_file(folder: Path, name: str, expected: str | None) -> None:
    path = folder / name
    check_unlinked(path, folder, BUNDLED_FILE)
    if not path.exists():
        raise VerificationError(f"{path}: missing; export the bundle again")
    if sha256_of(path) != expected:
        raise VerificationError(f"{path}: its checksum does not match {BUNDLE_FILE}: {_BROKEN}")
