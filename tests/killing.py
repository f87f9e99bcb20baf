"""Work that is killed at any moment, as tests of several rooms do it."""

import multiprocessing
import random
import time

FORK = multiprocessing.get_context("fork")


def killed_at_random(begin, seconds, times=3):
    """Begin a process so often, each time killed at a moment within some seconds; a turn after each.

    Args:
        begin: begins it; a `subprocess.Popen`, or a `multiprocessing.Process`.
        seconds: what it takes undisturbed.
    """
    draw = random.Random(0)
    for _ in range(times):
        process = begin()
        time.sleep(draw.uniform(0, seconds))
        process.kill()
        process.communicate() if hasattr(process, "communicate") else process.join()
        yield


def in_child(act):
    """Do something in a process of its own; its exit code, negative for a signal."""
    process = FORK.Process(target=act)
    process.start()
    process.join()
    return process.exitcode
