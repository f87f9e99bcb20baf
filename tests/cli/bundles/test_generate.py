import json
import os
import subprocess
import sys

import pytest

from hwsearch.runtime import Runtime

QUESTION = "tom has 3 apples and buys 5 more how many now ?"


def test_a_pipe_gets_the_final_text_alone(run, bundle):
    code, out, err = run("generate", bundle, QUESTION)
    assert (code, err) == (0, "")
    assert out == Runtime(bundle, threads=1).generate(QUESTION) + "\n"
    assert run("generate", bundle, QUESTION, "--stream") == (0, out, "")
    code, document, _ = run("generate", bundle, QUESTION, "--json")
    assert json.loads(document) == {"question": QUESTION, "answer": out.strip()}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_sees_masks_fill_up(bundle):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "20"}
    command = [sys.executable, "-m", "hwsearch.cli.main", "generate", str(bundle), QUESTION]
    done = subprocess.Popen([*command, "--stream"], stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # how Linux says that the other end has closed
        pass
    os.close(ours)
    assert done.wait() == 0
    frames, dim = shown.decode(), "\x1b[2m░\x1b[0m"
    assert frames.count(dim) == 7 + 6 + 5 + 4 + 3 + 2 + 1
    assert frames.replace("\r", "").endswith(Runtime(bundle, threads=1).generate(QUESTION) + "\n")
