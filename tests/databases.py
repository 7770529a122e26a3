# SPDX-License-Identifier: Apache-2.0
"""Real database servers on loopback, as tests/servers.py does it: each in a folder of its own, as an ordinary user."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers import MissingProgram, Server, _folder, free_port, program, running

USER, PASSWORD = "tester", "a password of 7 words"
# Databases refuse to run as root, or should not; this is Debian's nobody.
_NOBODY = 65534


def _prefix(folder: Path) -> list[str]:
    """What a command must stand behind to run as an ordinary user, to whom `folder` is given."""
    if os.geteuid() != 0:
        return []
    folder.chmod(0o700)
    os.chown(folder, _NOBODY, _NOBODY)
    return [program("setpriv"), f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-800:]}{done.stderr[-800:]}")


@contextmanager
def mariadb(*, port: int | None = None, options: Sequence[str] = ()) -> Iterator[Server]:
    """MariaDB with a database `test`, to which USER may do everything over TCP with PASSWORD. No other user can log in."""
    address = "127.0.0.1"
    port = port or free_port(address)
    server, install = program("mariadbd"), program("mariadb-install-db")
    with _folder() as folder:
        prefix, data = _prefix(folder), folder / "data"
        fixed = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}", "--innodb-log-file-size=4M"]
        _run([*prefix, install, *fixed, "--skip-test-db", "--auth-root-authentication-method=normal"], folder)
        start = folder / "start.sql"
        start.write_text(
            "CREATE DATABASE IF NOT EXISTS test;\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1';\n"
        )
        start.chmod(0o644)
        command = [server, *fixed, f"--port={port}", f"--bind-address={address}", f"--socket={folder}/socket"]
        command += [f"--pid-file={folder}/pid", f"--init-file={start}", "--skip-name-resolve", "--skip-log-bin"]
        command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--performance-schema=OFF"]
        command += ["--local-infile=1", "--max-allowed-packet=64M", *options]
        with running("mariadb", command, address, port, folder, prefix=prefix, seconds=60) as started:
            yield started


def _wait_until_ready(data: Path, seconds: float = 60.0) -> None:
    """A server that is starting listens already. Its own word for it, so that nobody has to connect."""
    end = time.monotonic() + seconds
    while "ready" not in (data / "postmaster.pid").read_text().split():
        if time.monotonic() > end:
            raise RuntimeError(f"postgresql in {data} is not ready after {seconds} s")
        time.sleep(0.05)


def _own_certificate(folder: Path, certificate: tuple[Path, Path]) -> list[str]:
    """Settings for a copy that belongs to the server, as it wants it of a key."""
    settings = []
    for name, path in zip(("ssl_cert_file", "ssl_key_file"), certificate, strict=True):
        copy = folder / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(copy, _NOBODY, _NOBODY)
        settings += ["-c", f"{name}={copy}"]
    return settings


def postgresql_program(name: str) -> str:
    """The full path of one of PostgreSQL's programs, of the newest version that is installed."""
    versions = Path("/usr/lib/postgresql")
    found = sorted(versions.glob(f"*/bin/{name}"), key=lambda path: int(path.parent.parent.name.split(".")[0]))
    if not found:
        raise MissingProgram(name)
    return str(found[-1])


@contextmanager
def postgresql(
    *, port: int | None = None, options: Sequence[str] = (), certificate: tuple[Path, Path] | None = None
) -> Iterator[Server]:
    """PostgreSQL with a superuser USER, who logs in over TCP with PASSWORD, and a database `postgres`.

    With a certificate and its key it speaks TLS to whom asks for it.
    """
    address = "127.0.0.1"
    port = port or free_port(address)
    server, initdb = postgresql_program("postgres"), postgresql_program("initdb")
    with _folder() as folder:
        prefix, data = _prefix(folder), folder / "data"
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = [initdb, "-D", str(data), "-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync"]
        _run([*prefix, *made, "--locale=C", "--encoding=UTF8"], folder)
        command = [server, "-D", str(data), "-p", str(port), "-h", address, "-k", str(folder), "-c", "fsync=off"]
        command += ["-c", "max_connections=50", "-c", "shared_buffers=16MB", "-c", "autovacuum=off", *options]
        if certificate:
            command += ["-c", "ssl=on", *_own_certificate(folder, certificate)]
        with running("postgresql", command, address, port, folder, prefix=prefix, seconds=60) as started:
            _wait_until_ready(data)
            yield started
