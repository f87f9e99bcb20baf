"""Where the `hwsearch` command begins: it loads nothing before an interrupt would be told in one line."""

import os
import sys


def main() -> None:
    """Run the command line; see `hwsearch.cli.main`."""
    try:
        from hwsearch.cli.main import main as run

        run()
    except KeyboardInterrupt:  # while that was being loaded, or just after it ended
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
        os._exit(130)
