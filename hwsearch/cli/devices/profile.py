"""`hwsearch profile`: time a device's operators into a latency table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    count_option,
    formats_option,
    given,
    json_option,
    kept_channels_option,
    kept_heads_option,
    model_options,
    overwrite_option,
    prompt_length_option,
    refuse_idle,
    shares,
    sizes_option,
    task_options,
    threads_option,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import percent, progress_bar, say, stderr
from hwsearch.latency.timing.runtimes import (
    ONNXRUNTIME_CPU,
    TIMED_HERE,
    Engine,
    timed_runtime,
)

if TYPE_CHECKING:
    from hwsearch.denoisers.geometry import Geometry
    from hwsearch.jobs.profiling.request import ProfileRequest
    from hwsearch.latency.devices.device import Device
    from hwsearch.latency.timing.operator_times import Kept
    from hwsearch.plan import WeightFormat


#: What says how long is timed, and which sizes.
EFFORT = ("threads", "rounds", "sessions")
SIZES = ("grid", "formats", "kept_heads", "kept_channels", "prompt_length")


@click.command(name="profile", cls=Verb)
@click.option("--device", "name", default="cpu", show_default=True, help="Name of the device.")
@sizes_option("--shapes-of", "--model", "model", default="gsm-mini")
@click.option(
    "--grid",
    help="Sizes to time instead: rows, features, keys, heads, head_dim and vocab, as in the docs on devices.",
)
@formats_option
@kept_heads_option
@kept_channels_option
@prompt_length_option
@task_options()
@model_options()
@click.option(
    "--runtime",
    type=click.Choice(list(TIMED_HERE)),
    default=ONNXRUNTIME_CPU.name,
    show_default=True,
    help="What runs the operators.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("latency_tables"),
    show_default=True,
    help="Folder of devices.",
)
@threads_option
@count_option("--rounds", 10, "Samples an operator and session; a whole model has 5 at most.")
@count_option("--sessions", 3, "Sessions.")
@overwrite_option
@click.option(
    "--kit",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a folder that times a device without hwsearch, and stop.",
)
@click.option(
    "--for",
    "kit_for",
    type=click.Choice(["onnxruntime", "onnxruntime-web", "llama.cpp"]),
    help="What the kit times: graphs in onnxruntime (if left), by Python or in Node and browsers, or the "
    "model in three types in llama.cpp.",
)
@click.option(
    "--import",
    "results",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Make a device of what a kit brought back, or of llama-bench's output (-o json or csv).",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what would be done and what it would take, and stop."
)
@json_option
def command(
    as_json: bool,
    kit: Path | None,
    kit_for: str | None,
    results: Path | None,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Time a device's operators, and calibrate their sums on whole-model runs.

    A device that is there is added to; a run that was cut off goes on where it was.
    """
    from hwsearch.errors import InputError

    check_one(kit, results, dry_run)
    if kit is None and kit_for is not None:
        raise InputError(
            f"--for {kit_for} says what a kit is for; add --kit FOLDER, or leave it out"
        )
    refuse_idle_options(kit, kit_for, results, flags)
    if dry_run:
        answer = foreseen(flags)
        text = "\n".join(answer["lines"])
    elif kit is not None and kit_for == "llama.cpp":
        answer = make_llama_kit(kit, flags)
        text = f"{answer['kit']}: copy it to the device and: sh {answer['script']}"
    elif kit is not None:
        answer = make_kit(kit, kit_for or "onnxruntime", flags)
        text = kit_sentence(answer)
    else:
        device = bring(results, flags) if results is not None else timed(flags)
        answer = document(device)
        text = sentence(device)
    print_json(answer) if as_json else stderr.print(text)


def check_one(kit: Path | None, results: Path | None, dry_run: bool) -> None:
    """Refuse to do two things at once. Raises `InputError`."""
    from hwsearch.errors import InputError

    asked = {"--kit": kit is not None, "--import": results is not None, "--dry-run": dry_run}
    given = [flag for flag, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise InputError(f"give one of {', '.join(asked)}; got {' and '.join(given)}")


def refuse_idle_options(
    kit: Path | None, kit_for: str | None, results: Path | None, flags: dict[str, Any]
) -> None:
    """Refuse what would be passed over. Raises `InputError`."""
    asked, is_torch = [*TASK_OPTIONS], timed_runtime(flags["runtime"]).engine is Engine.TORCH
    if kit is not None:
        refuse_idle(["name"], "with --kit: what it brings back is named at the import")
        own = [*SIZES] if kit_for == "llama.cpp" else [*MODEL_OPTIONS]
        refuse_idle([*EFFORT, "runtime", "out", *asked, *own], "with --kit: it times elsewhere")
    elif results is not None:
        done = [*SIZES, *EFFORT, "runtime", *asked]
        refuse_idle(done, "with --import: what was timed is in the results")
    elif is_torch:
        refuse_idle(
            ["threads", *asked, *MODEL_OPTIONS],
            "with a torch runtime, which times the sizes of a model in threads of torch's own",
        )
    elif Path(flags["model"]).suffix == ".json":
        refuse_idle([*asked, *MODEL_OPTIONS], "with a config.json, which has sizes alone")
    if flags["grid"] is not None and not is_torch:
        whole = ["model", "kept_heads", "kept_channels", "prompt_length"]
        refuse_idle([*whole, *asked, *MODEL_OPTIONS], "with --grid, which says all sizes")


def make_kit(folder: Path, kit_for: str, flags: dict[str, Any]) -> dict[str, Any]:
    """Write a kit; where, what to run there, how many operators it times and plans it runs whole."""
    from hwsearch.jobs.profiling.machine import kit_formats, wanted_models, wanted_operators
    from hwsearch.latency.kit.kinds import KIT_KINDS
    from hwsearch.latency.kit.writer import write_kit

    kind = KIT_KINDS[kit_for]
    wanted = (flags["model"], flags["grid"], flags["prompt_length"])
    chosen = kit_formats(kind.provider, formats(flags))
    keys = wanted_operators(*wanted, kept(flags), formats=chosen)
    models = wanted_models(*wanted, formats=chosen)
    return {
        "kit": str(write_kit(keys, folder, models, kind, overwrite=flags["overwrite"])),
        "command": kind.command,
        "operators": len(keys),
        "whole_models": 0 if models is None else len(models.plans),
        "whole_layers": 0 if models is None else models.geometry.num_layers,
        "model_layers": None if models is None else models.model_layers,
    }


def make_llama_kit(folder: Path, flags: dict[str, Any]) -> dict[str, Any]:
    """Write a kit for llama.cpp; where, and what it runs."""
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.jobs.profiling.llama_kit import write_llama_kit

    options = ModelOptions(**given(flags, MODEL_OPTIONS))
    with progress_bar():
        script, models = write_llama_kit(
            flags["model"], folder, options, overwrite=flags["overwrite"]
        )
    return {"kit": str(folder), "script": script.name, "models": models}


def kit_sentence(kit: dict[str, Any]) -> str:
    """A kit in one line."""
    whole = "no whole model, so what comes back stays uncalibrated"
    if kit["whole_models"]:
        whole = f"{kit['whole_models']} whole models of {kit['whole_layers']} layers"
        if kit["whole_layers"] < kit["model_layers"]:
            whole += f" (of {kit['model_layers']}, which would not fit on a small board)"
    return (
        f"{kit['operators']} operators and {whole} in {kit['kit']}; copy it to the device and: "
        f"{kit['command']}"
    )


def foreseen(flags: dict[str, Any]) -> dict[str, Any]:
    """What a torch runtime would do, and about how long it would take."""
    from hwsearch.errors import InputError

    asked = request(flags)
    if asked.runtime.engine is not Engine.TORCH:
        raise InputError("--dry-run is for --runtime torch-cuda and torch-cpu")
    from hwsearch.jobs.profiling.torch_job import torch_job

    job = torch_job(asked)
    return {
        "operators": len(job.keys),
        "plans": len(job.plans),
        "left_out": job.refused,
        "estimate_s": job.estimate_s,
        "lines": job.lines(),
    }


def bring(results: Path, flags: dict[str, Any]) -> Device:
    """A device of what a kit brought back, or of what llama-bench wrote."""
    from hwsearch.errors import InputError
    from hwsearch.latency.benchmarks.device import import_bench
    from hwsearch.latency.benchmarks.llama_bench import is_llama_bench
    from hwsearch.latency.kit.importer import import_results

    given = click.get_current_context().get_parameter_source("name")
    if given is click.core.ParameterSource.DEFAULT:
        raise InputError("--import needs --device NAME: what the device is to be called")
    if is_llama_bench(results):
        return import_bench(
            results, flags["name"], shapes_of(flags), flags["out"], overwrite=flags["overwrite"]
        )
    refuse_idle(["model", *MODEL_OPTIONS], "with results of a kit, which say what was timed")
    return import_results(results, flags["name"], flags["out"], overwrite=flags["overwrite"])


def shapes_of(flags: dict[str, Any]) -> Geometry:
    """Sizes of the model that was benchmarked. Raises `InputError` where none is named."""
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.errors import InputError
    from hwsearch.jobs.predicted_model import subject_of

    given_by = click.get_current_context().get_parameter_source("model")
    if given_by is click.core.ParameterSource.DEFAULT:
        raise InputError(
            "llama-bench does not say its model's sizes; give --shapes-of MODEL: its config.json, folder or "
            "GGUF file"
        )
    options = ModelOptions(**given(flags, MODEL_OPTIONS))
    return subject_of(flags["model"], 1, options=options).geometry


def timed(flags: dict[str, Any]) -> Device:
    """A device timed now, by the runtime that is asked for."""
    from hwsearch.jobs.profiling.machine import profile_here

    with progress_bar():
        return profile_here(request(flags), say=say)


def request(flags: dict[str, Any]) -> ProfileRequest:
    """What the flags ask for."""
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.jobs.profiling.effort import Effort
    from hwsearch.jobs.profiling.request import ProfileRequest
    from hwsearch.tasks.choice import TaskChoice

    return ProfileRequest(
        flags["name"],
        flags["out"],
        model=flags["model"],
        grid=flags["grid"],
        prompt_length=flags["prompt_length"],
        runtime=timed_runtime(flags["runtime"]),
        formats=formats(flags),
        kept=kept(flags),
        effort=Effort(flags["threads"], flags["rounds"], flags["sessions"]),
        overwrite=flags["overwrite"],
        task=TaskChoice(**given(flags, TASK_OPTIONS)),
        options=ModelOptions(**given(flags, MODEL_OPTIONS)),
    )


def kept(flags: dict[str, Any]) -> Kept:
    """Sizes of pruned layers that are timed, too."""
    from hwsearch.latency.timing.operator_times import Kept

    return Kept(shares(flags["kept_heads"]), shares(flags["kept_channels"]))


def formats(flags: dict[str, Any]) -> tuple[WeightFormat, ...] | None:
    """Formats that are asked for, in the order of all; None where none is. Raises `InputError`."""
    from hwsearch.errors import UnknownNameError
    from hwsearch.formats.catalog import FORMATS

    if flags["formats"] is None:
        return None
    names = {name.strip() for name in flags["formats"].split(",")}
    for name in sorted(names - set(FORMATS)):
        raise UnknownNameError("format", name, tuple(FORMATS))
    return tuple(fmt for fmt in FORMATS if fmt in {"fp32", *names})


def document(device: Device) -> dict[str, Any]:
    """The device as plain data."""
    return {
        "device": device.info.model_dump(mode="json"),
        "operators": 0 if device.info.roofline else len(device.table.samples),
        "folder": str(device.folder),
    }


def sentence(device: Device) -> str:
    """The device in one line."""
    if device.info.roofline is not None:
        errors = [abs(check.error) for check in device.info.checks]
        off = (
            f"{percent(max(errors))} off at most"
            if errors
            else "not held out: that needs three types"
        )
        return f"{', '.join(device.info.roofline.rates)} of a benchmark in {device.folder}; {off}"
    text = f"{len(device.table.samples)} operators timed in {device.folder}; "
    if not device.info.calibrations:
        return text + "sums are uncalibrated: no whole model was run"
    line = device.info.calibrations[-1]
    ends = f"{percent(line.refresh.mape)} (refresh) and {percent(line.step.mape)} (step)"
    return text + f"sums are calibrated to {ends} on {line.model}"
