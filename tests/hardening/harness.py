"""Run a reader over mutated inputs: anything but its answer or an error of hwsearch's own is a fault."""

from __future__ import annotations

import random
import resource
import signal
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from hwsearch.errors import HwsearchError

#: Seconds of the processor that one input may take, of the clock that it may wait, and bytes of memory beyond
#: those that are held before.
MOST_SECONDS, MOST_WAIT, MOST_MEMORY = 10, 900, 1 << 30

#: Seconds of the processor after which the system ends a process that is still at one input: a library in C
#: that never comes back hears no signal.
LAST_SECONDS = 120


_ENDLESS = resource.getrlimit(resource.RLIMIT_CPU)


class HungError(Exception):
    """An input took too long."""


def _hung(signum, frame):
    raise HungError


def _arm(seconds, wait):
    """Bound time of the processor, which a busy machine does not lengthen, and waiting on nobody."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(wait)
    last = int(time.process_time()) + LAST_SECONDS if seconds else _ENDLESS[0]
    resource.setrlimit(resource.RLIMIT_CPU, (last, _ENDLESS[1]))


@contextmanager
def limits():
    """A limit on this process's memory, which is put back."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm").read_text(encoding="ascii")
    held = int(statm.split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_MEMORY, before[1]))
    before_signals = {one: signal.signal(one, _hung) for one in (signal.SIGALRM, signal.SIGPROF)}
    try:
        yield
    finally:
        _arm(0, 0)
        for one, handler in before_signals.items():
            signal.signal(one, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def fault_of(read):
    """What a reader does that it must not: None where it answers, or refuses in a line of its own."""
    _arm(MOST_SECONDS, MOST_WAIT)
    try:
        read()
    except HwsearchError as error:
        said = str(error)
        if not said.strip():
            return "an error without a word"
        return None
    except HungError:
        return f"hangs for {MOST_SECONDS} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        ours = [
            f for f in frames if "hwsearch" in f.filename and "tests" not in f.filename
        ] or frames
        where = f"{ours[-1].filename.rpartition('/')[2]}:{ours[-1].name}" if ours else ""
        return f"{type(error).__name__} in {where}: {' '.join(str(error).split())[:120]}"
    finally:
        _arm(0, 0)
    return None


def faults(make, read, mutators, count, seed=0):
    """Faults over mutated inputs.

    Args:
        make: writes an input from bytes, and returns what `read` is given.
        read: the reader.
        mutators: by turns.
        count: inputs.
        seed: of all chance.
    """
    found, content = {}, make.content
    with limits():
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            changed = mutators[number % len(mutators)](content, chance)
            if number % 7 == 3:
                changed = mutators[chance.randrange(len(mutators))](changed, chance)
            given = make(changed)
            fault = fault_of(lambda given=given: read(given))
            if fault is not None:
                found.setdefault(fault, []).append(number)
    return found
