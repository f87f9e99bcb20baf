"""Run a reader over mutated inputs: anything but its answer or an error of hwsearch's own is a fault."""

from __future__ import annotations

import random
import resource
import signal
import traceback
from contextlib import contextmanager
from pathlib import Path

from hwsearch.errors import HwsearchError

#: Seconds that one input may take, and bytes of memory beyond those that are held before.
MOST_SECONDS, MOST_MEMORY = 10, 4 << 30


class HungError(Exception):
    """An input took too long."""


def _hung(signum, frame):
    raise HungError


@contextmanager
def limits():
    """A limit on this process's memory, which is put back."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm").read_text(encoding="ascii")
    held = int(statm.split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_MEMORY, before[1]))
    handler = signal.signal(signal.SIGALRM, _hung)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def fault_of(read):
    """What a reader does that it must not: None where it answers, or refuses in a line of its own."""
    signal.alarm(MOST_SECONDS)
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
        signal.alarm(0)
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
