"""`hwsearch bench`: how fast a bundle answers. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import asked_option, count_option, json_option, threads_option
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import megabytes, print_table, progress_bar

if TYPE_CHECKING:
    from hwsearch.runtime.timing import GenerationTimes

#: Percentiles of a generation's milliseconds that are told.
PERCENTILES = (50, 90, 99)


@click.command(name="bench", cls=Verb)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    help='JSONL of questions, a "question" a line; the bundle\'s own if left.',
)
@count_option("--problems", None, "Ask so many of gsm-mini's validation problems.")
@asked_option(50)
@count_option("--rounds", 3, "Times that each question is asked.")
@threads_option
@click.option("--plain", is_flag=True, help="Leave the model's chat template aside.")
@json_option
def command(
    bundle: Path,
    questions: Path | None,
    problems: int | None,
    limit: int,
    rounds: int,
    threads: int,
    plain: bool,
    as_json: bool,
) -> None:
    """Time BUNDLE while it answers questions: tokens per second and per pass, latency, memory.

    A token counts if it stands before its answer's first end token. Every generation is timed by
    itself, after a warm-up, from the prompt's tokens to the last token written.
    """
    from hwsearch.jobs.bundles.benchmark import benchmark, benchmark_questions
    from hwsearch.runtime import Runtime

    runtime = Runtime(bundle, threads=threads)
    asked = benchmark_questions(runtime, questions, problems)[:limit]
    with progress_bar():
        found = benchmark(runtime, asked, rounds=rounds, plain=plain)
    if as_json:
        print_json({"bundle": str(bundle), "threads": threads, **_document(found)})
    else:
        print_table(f"bench {bundle}", ["figure", "value"], _rows(found))


def _document(found: GenerationTimes) -> dict[str, object]:
    return {
        "generations": len(found.generations),
        "tokens": found.tokens,
        "tokens_per_second": found.tokens_per_second,
        "tokens_per_pass": found.tokens_per_pass,
        "passes": {kind.value: count for kind, count in found.passes.items()},
        "latency_ms": {f"p{n}": found.latency_ms(n) for n in PERCENTILES},
        "peak_bytes": found.peak_bytes,
    }


def _rows(found: GenerationTimes) -> list[tuple[str, str]]:
    count = len(found.generations)
    peak = "unknown" if found.peak_bytes is None else megabytes(found.peak_bytes)
    return [
        ("generations", str(count)),
        ("tokens of an answer", f"{found.tokens / count:.1f}"),
        ("tokens per second", f"{found.tokens_per_second:.1f}"),
        ("tokens per pass", f"{found.tokens_per_pass:.2f}"),
        *(
            (f"{k.value} passes of a generation", f"{n / count:.1f}")
            for k, n in found.passes.items()
        ),
        *((f"latency p{n}", f"{found.latency_ms(n):.1f} ms") for n in PERCENTILES),
        ("peak memory", peak),
    ]
