"""The `hwsearch` command: finds the verb, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import click

from hwsearch._version import __version__
from hwsearch.cli.errors import BAD_INPUT, CLOSED, explain_error
from hwsearch.cli.examples import BEGIN
from hwsearch.cli.help import Context, write_examples
from hwsearch.cli.output import output, print_error
from hwsearch.cli.signals import Signals, raised_signals
from hwsearch.cli.usage import explain_usage, unknown_verb

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
    "schema": ("shell", "What a verb's --json holds, as JSON Schema."),
    "completion": ("shell", "Completion of names and flags for bash, zsh or fish."),
    "web": ("bundles", "Write the scripts that run bundles in Node and in a browser."),
}


#: What people do, in the order in which they do it, and the verbs for it.
SECTIONS = {
    "Begin": ("demo", "ls", "inspect"),
    "Know the device": ("profile", "predict"),
    "Search": ("search", "front", "report", "compare"),
    "Hand over": ("export", "verify", "generate", "bench", "web"),
    "Judge models": ("evaluate", "baselines", "sinks", "proxies", "analytical"),
    "The command itself": ("schema", "completion"),
}

#: Flags that hold wherever they stand.
ALWAYS = {
    "--json": "One JSON document on standard output; see hwsearch schema VERB.",
    "--quiet": "Neither progress nor notes; errors are told.",
    "--debug": "The traceback of an error, too.",
}


class PassedOnError(Exception):
    """Carries what click would take for a wish to leave, such as a file that ends too early."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is used."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all verbs, in the order in which they are used."""
        return list(VERBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that arguments begin with. Raises `click.UsageError` with the one that was meant."""
        if args and args[0] not in VERBS and not ctx.resilient_parsing and args[0][:1] != "-":
            raise unknown_verb(args[0], VERBS, ctx)
        return super().resolve_command(ctx, args)

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
        except (KeyboardInterrupt, EOFError) as error:
            raise PassedOnError(error) from error
        except BrokenPipeError:
            with suppress(OSError, ValueError):  # what is still to be written has no reader either
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CLOSED)
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the listing, by what people do, without importing any verb."""
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb, VERBS[verb][1]) for verb in verbs])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what holds for every verb."""
        with formatter.section("With every verb"):
            formatter.write_dl(list(ALWAYS.items()))
        write_examples(formatter, BEGIN)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "HWSEARCH"},
)
@click.version_option(__version__)
def hwsearch() -> None:
    """Which layers may drop which cached positions, and at which bit-width should each run?

    hwsearch finds the plan that loses least accuracy within a latency target, and exports it.
    """


def main() -> None:
    """Entry point: exit 0 success, 1 the answer is no, 2 bad input; see `hwsearch.cli.errors`."""
    arguments, everywhere = without_everywhere(sys.argv[1:])
    output.begin("--quiet" in everywhere, "--json" in arguments)
    try:
        reported(
            lambda: hwsearch(arguments, prog_name="hwsearch", standalone_mode=False),
            debug="--debug" in everywhere,
        )
    finally:
        output.end()


def reported(act: Callable[[], object], debug: bool = False) -> NoReturn:
    """Do something and leave the process, with what went wrong in one line and an exit code.

    Args:
        act: what to do.
        debug: show the traceback of an error, too.
    """
    with raised_signals() as signals:
        try:
            code = act()
        except SystemExit:
            raise
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(BAD_INPUT)
        except BaseException as error:  # libraries written in Rust panic with one
            cause = error.error if isinstance(error, PassedOnError) else error
            line, code = _told(cause, signals)
            if debug:
                traceback.print_exception(cause)
            print_error(line, code, type(cause).__name__)
            sys.exit(code)
        sys.exit(code if isinstance(code, int) else 0)


def _told(error: BaseException, signals: Signals) -> tuple[str, int]:
    """The line and the exit code for an error; after a signal, whatever came of it."""
    if signals.number is not None or isinstance(error, click.Abort | KeyboardInterrupt):
        return signals.line, signals.code
    if isinstance(error, click.ClickException):
        return f"error: {explain_usage(error)}", BAD_INPUT
    line, code = explain_error(error)
    return f"error: {line}", code


#: Flags that may stand anywhere in a command.
EVERYWHERE = ("--debug", "--quiet")


def without_everywhere(arguments: Sequence[str]) -> tuple[list[str], set[str]]:
    """Arguments without the flags that may stand anywhere, and those that were there.

    >>> without_everywhere(["front", "s", "--debug"])
    (['front', 's'], {'--debug'})
    """
    options = list(arguments)
    end = options.index("--") if "--" in options else len(options)
    kept = [option for option in options[:end] if option not in EVERYWHERE]
    return kept + options[end:], {*options[:end]} & {*EVERYWHERE}


if __name__ == "__main__":
    main()
