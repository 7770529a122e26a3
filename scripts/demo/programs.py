# SPDX-License-Identifier: Apache-2.0
"""The programs that the demo starts: where they are, that they listen, and that exactly they end."""

import http.client
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "mount": "mount",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "postgres": "postgresql",
    "prometheus": "prometheus",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
"""Each program that is needed, and the Debian package that has it."""
_SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0


class CannotStart(Exception):
    """Something of the demo does not come up; the message says what, why, and what to do."""


def found(name: str) -> str | None:
    """The full path of a program, also from folders that a user's PATH may lack; None if it is not here."""
    if name in {"postgres", "initdb"}:  # Debian keeps them by version, outside of PATH
        versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
        newest = sorted(versions, key=lambda path: float(path.parent.parent.name))
        if newest:
            return str(newest[-1])
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)


def program(name: str) -> str:
    path = found(name)
    if path is None:
        raise CannotStart(f"{name} is missing: apt-get install {PACKAGES.get(name, name)}")
    return path


def missing() -> list[str]:
    """Packages of which a program is not here."""
    return sorted({package for name, package in PACKAGES.items() if found(name) is None})


def run(*command: str, cwd: Path | None = None) -> None:
    """Runs a command to its end; raises CannotStart with what it said."""
    done = subprocess.run(command, cwd=cwd, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise CannotStart(f"{' '.join(command)} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")


@dataclass(frozen=True, slots=True)
class Started:
    """A process of the demo, by its own pid, and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(name: str, command: Sequence[str], folder: Path, cwd: Path | None = None) -> Started:
    """Starts a process in a session of its own: Ctrl-C is the demo's alone, which stops them in order. Its log is in
    `folder`, as it is itself unless `cwd` says otherwise."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd or folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Started(name, process, log)


def wait_until(ready: Callable[[], bool], started: Started, what: str, seconds: float = START_SECONDS) -> None:
    """Raises CannotStart with the end of its log if the process ends first, or is not ready in time."""
    end = time.monotonic() + seconds
    while not ready():
        if (code := started.process.poll()) is not None:
            raise CannotStart(f"{started.name} ended with {code}: {started.tail()}")
        if time.monotonic() > end:
            raise CannotStart(f"{started.name}: not within {seconds:.0f} s that it {what}: {started.tail()}")
        time.sleep(0.05)


def listens(pid: int, port: int, kind: str = "tcp") -> bool:
    """Whether a socket of the process's network namespace listens at the port. Read, not tried: trials would be counted."""
    state = {"tcp": "0A", "udp": "07"}[kind]
    for table in (kind, f"{kind}6"):
        try:
            rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
        except OSError:
            continue
        if any(row[1].endswith(f":{port:04X}") and row[3] == state for row in rows):
            return True
    return False


def answers(port: int, path: str) -> bool:
    """Whether a GET on this machine's loopback is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
