"""A PostgreSQL server of one's own, for tests and studies: started in a folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where Debian and Ubuntu put what is not on the path.
DEBIAN = Path("/usr/lib/postgresql")

#: Accounts to run the server as where we are root, which it refuses to be.
ACCOUNTS = ("postgres", "nobody")


def find_postgres() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, or None if no server is installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    return versions[-1].parent if versions else None


@contextmanager
def postgres_server(programs: Path) -> Iterator[str]:
    """Run a server on a free port of this machine; gives its URL.

    Args:
        programs: the folder that `find_postgres` found.
    """
    account = _account()
    with tempfile.TemporaryDirectory(prefix="hwsearch-postgres-") as name:
        folder = Path(name)
        if account is not None:
            shutil.chown(folder, account)
        data, port = folder / "data", _free_port()
        _run(account, programs / "initdb", "-D", data, "-U", "hwsearch", "-A", "trust", "-N")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = (programs / "pg_ctl", "-D", data, "-w")
        _run(account, *control, "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql://hwsearch@127.0.0.1:{port}/postgres"
        finally:
            _run(account, *control, "-m", "immediate", "stop")


def _account() -> str | None:
    """The account to run as; None is our own."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ACCOUNTS if name in known)


def _run(account: str | None, *command: object) -> None:
    subprocess.run(
        [str(part) for part in command],
        user=account,
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
