"""`hwsearch export`: a plan of a study or from a file, as a bundle of ONNX files or for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.completion import STUDY
from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    folder_option,
    given,
    json_option,
    model_option,
    model_options,
    overwrite_option,
    refuse_idle,
    scored_option,
    storage_option,
    task_options,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import megabytes, progress_bar
from hwsearch.jobs.bundles.other_programs import OTHER_PROGRAMS

if TYPE_CHECKING:
    from hwsearch.plan import CompressionPlan
    from hwsearch.runtime import Bundle


#: What a study knows of itself.
KNOWN = [*(name for name in TASK_OPTIONS if name != "limit"), *MODEL_OPTIONS, "runtime"]


@click.command(name="export", cls=Verb)
@click.argument("study_name", required=False, metavar="[STUDY]", type=STUDY)
@click.option(
    "--plan",
    help="Of a study the number of a trial, its best plan if left; of a model the file of a plan.",
)
@model_option
@folder_option(required=True)
@click.option(
    "--to",
    type=click.Choice(["onnx", *OTHER_PROGRAMS]),
    default="onnx",
    show_default=True,
    help="A bundle for onnxruntime, a GGUF file for llama.cpp, or a folder for vLLM and transformers.",
)
@click.option(
    "--runtime",
    help="Of a model's plan: what runs the bundle, such as onnxruntime-openvino; onnxruntime-cpu if left. "
    "A study's plan is for its device's.",
)
@scored_option(200)
@click.option(
    "--references",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Of a model's plan: questions that torch answers, to verify by.",
)
@overwrite_option
@task_options("limit")
@model_options()
@storage_option
@json_option
def command(
    study_name: str | None,
    plan: str | None,
    model: str | None,
    out: Path,
    to: str,
    runtime: str | None,
    limit: int,
    references: int,
    overwrite: bool,
    storage: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Export a plan of STUDY as a bundle of ONNX files, measured and scored.

    Or export any plan of a model: --model MODEL --plan PLAN.json, neither measured nor scored. What --to
    gguf and --to compressed-tensors write for other programs is neither measured nor scored either, nor what
    runs in Node and browsers.
    """
    from hwsearch.errors import InputError

    if (study_name is None) == (model is None):
        raise InputError("give a study, or --model and --plan; not both")
    refuse_idle_options(model is None, to)
    if to in OTHER_PROGRAMS:
        path = written(to, study_name, model, plan, out, overwrite, storage, flags)
        say_written(to, path, as_json)
        return
    if model is not None:
        bundle = of_model(model, plan, out, runtime, overwrite, references, flags)
    else:
        bundle = of_study(str(study_name), plan, out, storage, overwrite, limit)
    if as_json:
        figures = bundle.manifest.figures.model_dump(mode="json")
        print_json({"bundle": str(bundle.path), "figures": figures})
    else:
        click.echo(sentence(bundle))


def sentence(bundle: Bundle) -> str:
    """A bundle in one line, and what to do with it next."""
    from hwsearch.runtime.providers import provider_of

    said = f"{bundle.path}: {megabytes(bundle.size_bytes)}"
    elsewhere = provider_of(bundle.manifest.runtime).elsewhere
    if elsewhere:
        return f"{said}, neither timed nor scored, since Python does not run it: {elsewhere}"
    return f"{said}, check it with: hwsearch verify {bundle.path}"


def refuse_idle_options(of_study: bool, to: str) -> None:
    """Refuse what would be passed over. Raises `InputError`."""
    if to in OTHER_PROGRAMS:
        runs = OTHER_PROGRAMS[to].runs
        refuse_idle(
            ["runtime", "limit", "references"],
            f"with --to {to}: what {runs} runs is neither timed, scored nor verified here",
        )
    if of_study:
        refuse_idle(KNOWN, "with a study, which knows its model, its task and its device")
        refuse_idle(["references"], "with a study, whose plan is scored and timed instead")
    else:
        refuse_idle(["storage"], "without a study")
        refuse_idle(["limit"], "with --model, whose plan is not scored")


def written(
    to: str,
    study: str | None,
    model: str | None,
    plan: str | None,
    out: Path,
    overwrite: bool,
    storage: str | None,
    flags: dict[str, Any],
) -> Path:
    """What was written of a plan for other programs. Raises as `of_model` and `of_study`."""
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.jobs.exporting import written_of_model, written_of_study

    with progress_bar():
        if model is not None:
            options = ModelOptions(**given(flags, MODEL_OPTIONS))
            task = given(flags, TASK_OPTIONS)
            return written_of_model(
                to, model, _read(plan), out, options, overwrite=overwrite, **task
            )
        number = _number(plan)
        return written_of_study(to, str(study), number, out, storage=storage, overwrite=overwrite)


def say_written(to: str, path: Path, as_json: bool) -> None:
    """What was written, and what of the plan other programs do not do."""
    from hwsearch.plan import CompressionPlan

    folder = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else [*folder.iterdir()]
    size = sum(file.stat().st_size for file in files)
    if as_json:
        print_json({to.replace("-", "_"): str(path), "size_bytes": size})
        return
    program = OTHER_PROGRAMS[to]
    click.echo(f"{path}: {megabytes(size)}, for {program.runs}")
    plan = CompressionPlan.read(folder / "plan.json")
    if plan.decoding is not None or any(layer.sink_threshold < 1 for layer in plan.layers):
        click.echo(f"The plan's decoding and thresholds are not in it: {program.leaves_out}.")


def of_model(
    model: str,
    plan: str | None,
    out: Path,
    runtime: str | None,
    overwrite: bool,
    references: int,
    flags: dict[str, Any],
) -> Bundle:
    """The bundle of a plan in a file. Raises `InputError` where none is given."""
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.jobs.exporting import export_model
    from hwsearch.runtime.providers import CPU

    with progress_bar():
        return export_model(
            model,
            _read(plan),
            out,
            ModelOptions(**given(flags, MODEL_OPTIONS)),
            runtime=runtime or CPU.name,
            overwrite=overwrite,
            references=references,
            **given(flags, TASK_OPTIONS),
        )


def of_study(
    name: str, plan: str | None, out: Path, storage: str | None, overwrite: bool, limit: int
) -> Bundle:
    """The bundle of a study's trial. Raises `InputError` where the trial is no number."""
    from hwsearch.jobs.exporting import export_from_study

    with progress_bar():
        return export_from_study(
            name,
            _number(plan),
            out,
            storage=storage,
            overwrite=overwrite,
            limit=limit,
        )


def _read(plan: str | None) -> CompressionPlan:
    from hwsearch.errors import InputError
    from hwsearch.plan import CompressionPlan

    if plan is None:
        raise InputError("--model needs --plan FILE: a plan, such as a bundle's plan.json")
    return CompressionPlan.read(Path(plan))


def _number(plan: str | None) -> int | None:
    from hwsearch.errors import InputError

    if plan is not None and not plan.isdigit():
        raise InputError(f"--plan of a study is the number of a trial; got {plan!r}")
    return None if plan is None else int(plan)
