"""Options that several verbs share: a flag that means one thing has one type and one help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hwsearch.cli.completion import DEVICE, MODEL, TASK

_PATH = click.Path(path_type=str)


def count_option(
    name: str, default: int | None, text: str, *, least: int = 1
) -> Callable[[Any], Any]:
    """An option that is a whole number, above 0 unless 0 means something."""
    return click.option(
        name,
        type=click.IntRange(min=least),
        default=default,
        show_default=default is not None,
        help=text,
    )


def device_option(default: str | None = None) -> Callable[[Any], Any]:
    """A device that is there."""
    text = "A device of latency_tables/, or its folder."
    return click.option("--device", type=DEVICE, default=default, show_default=True, help=text)


def sizes_option(*names: str, default: str | None = None) -> Callable[[Any], Any]:
    """A model of which the sizes are enough."""
    text = "A model, or a config.json for its sizes alone."
    return click.option(*names, type=MODEL, default=default, show_default=True, help=text)


def folder_option(default: Path | None = None, required: bool = False) -> Callable[[Any], Any]:
    """Where a verb's files go."""
    # click takes a None that is said for a default, and then asks for nothing
    said: dict[str, Any] = {} if default is None else {"default": default, "show_default": True}
    return click.option(
        "-o",
        "--out",
        type=click.Path(path_type=Path),
        required=required,
        help="Folder to write.",
        **said,
    )


def scored_option(default: int, *, least: int = 1) -> Callable[[Any], Any]:
    """How many problems a score is of."""
    return count_option("--limit", default, "Problems to score.", least=least)


def asked_option(default: int) -> Callable[[Any], Any]:
    """How many questions are asked, where nothing is scored."""
    return count_option("--limit", default, "Questions to ask at most.")


def trials_option(default: int | None = None) -> Callable[[Any], Any]:
    """How long a search is."""
    text = "Trials that the study shall have: finished, stopped early or failed."
    return count_option("--trials", default, text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of all chance.")
threads_option = count_option("--threads", 1, "Threads of the runtime.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is there.")
model_option = click.option(
    "--model", type=MODEL, help="A bundled model, a folder, a GGUF file, or a hub id."
)
formats_option = click.option(
    "--formats", help="Formats, comma separated; see hwsearch ls formats."
)
kept_heads_option = click.option(
    "--kept-heads", help="Shares of the heads that layers may keep, comma separated: 1.0,0.5."
)
kept_channels_option = click.option(
    "--kept-channels", help="Shares of the mlp's channels that layers may keep, comma separated."
)
decoding_option = click.option(
    "--decoding",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file of what to change of the makers' decoding; {} keeps it.",
)
storage_option = click.option(
    "--storage", help="Optuna storage: a URL, or the path of an SQLite file."
)
prompt_length_option = click.option(
    "--prompt-length",
    type=click.IntRange(min=1),
    help="Tokens of the prompt; the task's median if left.",
)
target_ms_option = click.option(
    "--target-ms", type=float, help="Most milliseconds of a generation."
)
target_ratio_option = click.option(
    "--target-ratio",
    type=float,
    help="Target as a share of the uncompressed model's.",
)
target_joules_option = click.option(
    "--target-joules", type=float, help="Most joules of a generation: power times time."
)
objective_option = click.option(
    "--objective",
    type=click.Choice(["latency", "energy"]),
    default="latency",
    show_default=True,
    help="Time, or energy: a device's power, where it was measured, times time.",
)
picture_option = click.option(
    "--picture", type=click.Path(path_type=Path), help="Draw it, too: PNG, SVG or PDF."
)

#: What is asked, as `hwsearch.tasks.choice.TaskChoice` names it.
TASK_OPTIONS = {
    "task": click.option(
        "--task",
        type=TASK,
        help="A task, see hwsearch ls tasks; or package.module:function. gsm-mini if left.",
    ),
    "task_path": click.option(
        "--task-path", help="Where its problems are: a JSONL file, a folder, or a hub id."
    ),
    "shots": click.option(
        "--shots", type=_PATH, help="JSONL of solved problems to show before each question."
    ),
    "num_shots": click.option(
        "--num-shots", type=click.IntRange(min=0), help="How many are shown; the task's if left."
    ),
    "apply_chat_template": click.option(
        "--apply-chat-template",
        is_flag=True,
        default=None,
        help="Ask by the model's chat template.",
    ),
    "calibration": click.option(
        "--calibration", type=_PATH, help="JSONL of questions, or problems, to calibrate on."
    ),
    "limit": click.option(
        "--limit", type=click.IntRange(min=1), help="Calibration questions at most; 96 if left."
    ),
}

#: How a model is loaded, as `hwsearch.denoisers.loading.options.ModelOptions` names it.
MODEL_OPTIONS = {
    "dtype": click.option(
        "--dtype", help="Arithmetic of the model: float32 (if left), bfloat16, float16."
    ),
    "torch_device": click.option("--torch-device", help="Such as cpu (if left) or cuda."),
    "memory": click.option(
        "--memory", help="Bytes that may be held, such as 8GiB; half of the machine's if left."
    ),
    "mask_token_id": click.option(
        "--mask-token-id", type=click.IntRange(min=0), help="The mask, where no file names it."
    ),
    "end_token_id": click.option(
        "--end-token-id", type=click.IntRange(min=0), help="The end token, where no file names it."
    ),
    "prompt_template": click.option(
        "--prompt-template", help="Text around {question}; the model's own if left."
    ),
    "gen_length": click.option(
        "--gen-length", type=click.IntRange(min=1), help="Tokens that the model's makers write."
    ),
    "block_length": click.option(
        "--block-length", type=click.IntRange(min=1), help="Tokens that they write together."
    ),
    "steps": click.option(
        "--steps", type=click.IntRange(min=1), help="Passes over a whole generation of theirs."
    ),
    "causal": click.option(
        "--causal",
        is_flag=True,
        default=None,
        help="Read an autoregressive checkpoint: a causal mask, one token a pass.",
    ),
}


def task_options(*without: str) -> Callable[[Any], Any]:
    """The options of a task, but for some that a verb calls otherwise."""
    return _together(TASK_OPTIONS, without)


def model_options(*without: str) -> Callable[[Any], Any]:
    """The options of how a model is loaded, but for some."""
    return _together(MODEL_OPTIONS, without)


def _together(
    options: dict[str, Callable[[Any], Any]], without: Sequence[str]
) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for name in reversed(options):
            if name not in without:
                command = options[name](command)
        return command

    return add


def given(flags: dict[str, Any], options: Iterable[str]) -> dict[str, Any]:
    """Take those of some options out of a verb's flags that were given."""
    found = {name: flags.pop(name) for name in options if name in flags}
    return {name: value for name, value in found.items() if value is not None}


def typed(*names: str) -> list[str]:
    """Options of the running command that were typed, of some, each with its value as text."""
    context = click.get_current_context()
    return [
        _typed(parameter, context.params[name])
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and (name := parameter.name) in names
        and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]


def _typed(option: click.Option, value: object) -> str:
    """An option by its long name, with its value where it takes one."""
    if option.is_flag:
        return max(option.opts if value else option.secondary_opts, key=len)
    return f"{max(option.opts, key=len)} {value}"


def refuse_idle(names: Iterable[str], why: str) -> None:
    """Refuse options that were typed and would be passed over.

    Args:
        names: parameters of the running command.
        why: when they have no effect, such as ``with --target-ms, which asks for one plan``.

    Raises:
        InputError: one was typed; the message names it with its value.
    """
    from hwsearch.errors import InputError

    if idle := typed(*names):
        raise InputError(f"{idle[0]} has no effect {why}; leave it out")


def shares(text: str | None) -> tuple[float, ...]:
    """Shares of a comma-separated list; none for no text.

    >>> shares("1.0,0.5"), shares(None)
    ((1.0, 0.5), ())

    Raises:
        InputError: one is no number above 0 and at most 1.
    """
    from hwsearch.errors import InputError

    try:
        found = tuple(float(part) for part in (text or "").split(",") if part)
    except ValueError:
        found = (0.0,)
    if not all(0.0 < share <= 1.0 for share in found):
        raise InputError(f"shares must be above 0 and at most 1, comma separated; got {text!r}")
    return found
