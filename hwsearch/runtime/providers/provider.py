"""One execution provider of onnxruntime, as a value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime as ort

from hwsearch.errors import InputError
from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.int8 import exact_int8
from hwsearch.runtime.providers.shaped import Session, ShapedSession, free_sizes

#: onnxruntime's severities: it warns about shapes it inferred itself, and a node that falls back is told.
_ERRORS_ONLY, _NOTHING = 3, 4

#: The three operators of a transformer's layer that not every provider has a kernel for.
TRANSFORMER_OPERATORS = frozenset({"Attention", "RotaryEmbedding", "RMSNormalization"})

#: Blocks of 8 and of 4 bits, those of 4 with zero points, too.
BLOCKS_OF_8_AND_4 = (
    WeightFormat.W8,
    WeightFormat.W8_G64,
    WeightFormat.W8_G128,
    WeightFormat.W4,
    WeightFormat.W4_G64,
    WeightFormat.W4_G128,
    WeightFormat.W4_ASYM,
    WeightFormat.W4_G64_ASYM,
    WeightFormat.W4_G128_ASYM,
)

#: Why there are no figures of some providers.
NO_HARDWARE = "written to its documentation, and not run on hardware yet"

#: Refuses a graph of which any node would run on the CPU provider instead.
_NO_FALLBACK = ("session.disable_cpu_ep_fallback", "1")

#: What graphs call the rows that a pass runs, where a file serves several numbers of them.
ROWS = "rows"

#: Most threads of a session.
MOST_THREADS = 1024

#: Lets a session tell which provider runs each node.
_TELL_PLACES = ("session.record_ep_graph_assignment_info", "1")


@dataclass(frozen=True)
class Provider:
    """An execution provider with what exports, sessions and tables must know of it.

    Attributes:
        name: as files and flags spell it.
        execution: onnxruntime's name of it.
        package: what to install for it.
        least: the least version of onnxruntime that loads all its formats.
        formats: formats of products that it loads, the least compressed first.
        processor: where it computes: ``cpu``, ``gpu`` or ``npu``.
        decomposed: operators that it has no kernel for; graphs for it have them written out.
        hands_out_weights: whether its kernel of Attention hands out its weights; else those nodes
            whose weights are wanted are written out.
        static_shapes: whether a graph is opened anew for each set of sizes.
        fixed_rows: whether a step's graph is opened anew for each number of rows that it runs. There
            are two at most unless a window is cut off at the end of a sequence.
        rounds_inputs: whether products of blocks of codes round their inputs, as formats say. Else
            inputs stay floats, and its results are a little better than those of the format.
        untested: why there are no figures of it here; empty where there are.
        settings: options that are always given.
        threads_option: the option that takes the number of threads; empty takes that of sessions.
        elsewhere: what runs it in place of Python, and how; empty where Python does.
    """

    name: str
    execution: str
    package: str
    least: str
    formats: tuple[WeightFormat, ...]
    processor: str = "cpu"
    decomposed: frozenset[str] = frozenset()
    hands_out_weights: bool = True
    static_shapes: bool = False
    fixed_rows: bool = False
    rounds_inputs: bool = True
    untested: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    threads_option: str = ""
    elsewhere: str = ""

    @property
    def is_default(self) -> bool:
        """Whether it is onnxruntime's own CPU provider, to which others fall back."""
        return self.execution == "CPUExecutionProvider"

    @property
    def is_installed(self) -> bool:
        """Whether this Python's onnxruntime has it."""
        return self.execution in ort.get_available_providers()

    def check(self) -> None:
        """Raise `InputError` where it is not installed or too old, with what to do about it."""
        if self.elsewhere:
            raise InputError(f"{self.name} does not run in Python: {self.elsewhere}")
        if not self.is_installed:
            raise InputError(
                f"{self.name} is not installed here: this Python's onnxruntime {ort.__version__} has "
                f"{', '.join(ort.get_available_providers())}; install {self.package} in place of "
                "onnxruntime, in an environment of its own"
            )
        if _numbers(ort.__version__) < _numbers(self.least):
            raise InputError(
                f"{self.name} needs onnxruntime {self.least} or later, and this is {ort.__version__}; "
                f"install a later {self.package}"
            )

    def open(self, graph: Path | bytes, threads: int | None) -> Session:
        """A session that runs all of a graph on this provider, or one for each set of sizes.

        Args:
            graph: a file, or its bytes.
            threads: threads of one operator; None lets the runtime choose.

        Raises:
            InputError: it is not installed, or does not run some node of the graph; it says which.
        """
        return self.open_with(graph, lambda: self.session_options(graph, threads), threads)

    def open_with(
        self,
        graph: Path | bytes,
        make_options: Callable[[], ort.SessionOptions],
        threads: int | None,
    ) -> Session:
        """A session with options of one's own; see `open`, which raises the same."""
        self.check()
        if not (self.static_shapes or self.fixed_rows):
            return self._opened(graph, make_options(), threads)
        described = _described(graph, make_options())
        fixed = self._fixed(free_sizes(described))
        if not fixed:
            return self._opened(graph, make_options(), threads)

        def open_at(sizes: Mapping[str, int]) -> ort.InferenceSession:
            options = make_options()
            for name, size in sizes.items():
                options.add_free_dimension_override_by_name(name, size)
            return self._opened(graph, options, threads)

        return ShapedSession(described, open_at, fixed)

    def _fixed(self, free: frozenset[str]) -> frozenset[str]:
        """Which of a graph's free sizes it is opened anew for."""
        if self.static_shapes:
            return free
        # a refresh has no other size: it would be opened for every length of a prompt
        return free & {ROWS} if free > {ROWS} else frozenset()

    def _opened(
        self, graph: Path | bytes, options: ort.SessionOptions, threads: int | None
    ) -> ort.InferenceSession:
        """A session of which no node falls back to another provider."""
        if self.is_default:
            return self._session(graph, options, threads)
        options.add_session_config_entry(*_NO_FALLBACK)
        try:
            return self._session(graph, options, threads)
        except Exception as error:  # onnxruntime raises classes of its own, and RuntimeError
            raise InputError(self._why_not(graph, error)) from error

    def session_options(self, graph: Path | bytes, threads: int | None) -> ort.SessionOptions:
        """How the product opens a graph."""
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY if self.is_default else _NOTHING
        options.inter_op_num_threads = 1
        if threads is not None:
            check_threads(threads)
            options.intra_op_num_threads = threads
        if self.is_default:
            exact_int8(options, graph)
        return options

    def open_plain(self, graph: Path) -> ort.InferenceSession:
        """A session as anybody opens it: nothing is said about how to compute, only what to log."""
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        return self._session(graph, options, None)

    def strangers(self, graph: Path | bytes) -> list[str]:
        """Names of the nodes that another provider would run, if that were allowed."""
        options = self.session_options(graph, None)
        options.add_session_config_entry(*_TELL_PLACES)
        options.log_severity_level = _NOTHING
        session = self._session(graph, options, None)
        return [
            node.name
            for part in session.get_provider_graph_assignment_info()
            if part.ep_name != self.execution
            for node in part.get_nodes()
        ]

    def _session(
        self, graph: Path | bytes, options: ort.SessionOptions, threads: int | None
    ) -> ort.InferenceSession:
        model = graph if isinstance(graph, bytes) else os.fspath(graph)
        settings = dict(self.settings)
        if self.threads_option and threads is not None:
            settings[self.threads_option] = str(threads)
        return ort.InferenceSession(
            model, options, providers=[self.execution], provider_options=[settings]
        )

    def _why_not(self, graph: Path | bytes, error: Exception) -> str:
        where = "a graph" if isinstance(graph, bytes) else str(graph)
        try:
            elsewhere = self.strangers(graph)
        except Exception:  # it does not open at all
            elsewhere = []
        if elsewhere:
            named = ", ".join(sorted(elsewhere)[:5])
            return (
                f"{where}: {self.name} does not run {len(elsewhere)} of its nodes, such as {named}; "
                f"export it for {self.name}"
            )
        return f"{where}: {self.name} does not open it: {str(error).strip().splitlines()[0]}"


def _described(graph: Path | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    """A session that is asked for names and sizes, and never run."""
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = graph if isinstance(graph, bytes) else os.fspath(graph)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_threads(threads: int) -> None:
    """Refuse more threads than any machine runs: a system ends programs that start too many.

    Raises:
        InputError: it is not a number from 1 to `MOST_THREADS`.
    """
    if not 1 <= threads <= MOST_THREADS:
        raise InputError(
            f"threads must be a number from 1 to {MOST_THREADS}; got {threads}: more than this "
            f"machine's {os.cpu_count()} processors only slow it down"
        )


def _numbers(version: str) -> list[int]:
    """A version as numbers that compare, what is no release left out."""
    return [int(part) for part in version.split(".") if part.isdigit()]
