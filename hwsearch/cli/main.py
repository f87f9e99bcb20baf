"""The `hwsearch` command: finds the verb, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click

from hwsearch._version import __version__
from hwsearch.cli.errors import BAD_INPUT, CLOSED, INTERRUPTED, explain_error

#: Every verb: the room of the module that holds it, and its line in the listing. A verb's module is
#: imported only when it is called, so that `hwsearch --help` is quick.
VERBS = {
    "demo": ("studies", "The whole job on the bundled model and this machine's processor."),
    "ls": ("models", "List models, devices, tasks, formats or studies."),
    "inspect": ("models", "Geometry, parameters, bytes and work of a model."),
    "sinks": ("models", "How a model's attention sinks move while it writes."),
    "baselines": ("models", "Pruning methods side by side on the task, with intervals."),
    "profile": ("devices", "Time this machine's operators into a latency table."),
    "predict": ("devices", "Milliseconds of a plan on a device."),
    "search": ("studies", "Search the plan of least loss within a latency target."),
    "compare": ("devices", "One study's plans on several devices."),
    "front": ("studies", "The Pareto front of a study."),
    "report": ("studies", "One page about a study: front, plan, time, accuracy, sources."),
    "export": ("bundles", "Export a study's plan as an ONNX bundle."),
    "verify": ("bundles", "Check a bundle: files, predictions, accuracy, latency."),
    "evaluate": ("models", "Score a model or a bundle on a task."),
    "proxies": ("models", "How well each loss ranks plans by accuracy, as a study measured it."),
    "analytical": ("models", "Diffusion that is computed from data, without a network."),
    "generate": ("bundles", "Answer a question with a bundle."),
    "bench": ("bundles", "How fast a bundle answers: tokens, passes, latency, memory."),
    "web": ("bundles", "Write the scripts that run bundles in Node and in a browser."),
}


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all verbs, in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb; None if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        room, _ = VERBS[cmd_name]
        command = importlib.import_module(f"hwsearch.cli.{room}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; leave quietly where whoever read its output has gone."""
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            with suppress(OSError, ValueError):  # what is still to be written has no reader either
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CLOSED)
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the listing without importing any verb."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "HWSEARCH"},
)
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def hwsearch(debug: bool) -> None:
    """Which layers may drop which cached positions, and at which bit-width should each run?

    hwsearch finds the plan that loses least accuracy within a latency target, and exports it.
    """


def main() -> None:
    """Entry point: exit 0 success, 1 the answer is no, 2 bad input; see `hwsearch.cli.errors`."""
    arguments, debug = without_debug(sys.argv[1:])
    try:
        sys.exit(hwsearch(arguments, prog_name="hwsearch", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except SystemExit:
        raise
    except BaseException as error:  # libraries written in Rust panic with one
        if debug:
            traceback.print_exc()
        line, code = explain_error(error)
        click.echo(f"error: {line}", err=True)
        sys.exit(code)


def without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Arguments without ``--debug``, which may stand anywhere, and whether it was there.

    >>> without_debug(["front", "s", "--debug"])
    (['front', 's'], True)
    """
    options = list(arguments)
    end = options.index("--") if "--" in options else len(options)
    kept = [option for option in options[:end] if option != "--debug"]
    return kept + options[end:], len(kept) < end


if __name__ == "__main__":
    main()
