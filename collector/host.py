# SPDX-License-Identifier: Apache-2.0
"""What a check may look at: files of the kernel below one root, which a test puts elsewhere, and a few calls."""

import errno
import re
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from collector.kinds import Endpoint


def _memlock() -> int:
    """Bytes this process may lock, -1 for no limit."""
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]


def _bind(endpoint: Endpoint) -> int:
    """The errno of listening at `endpoint` for a moment, 0 if it works. A name is taken as it is resolved."""
    try:
        found = socket.getaddrinfo(
            endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind(address)
                listener.listen(1)
            except OSError as error:
                return error.errno or errno.EIO
    return 0


@dataclass(frozen=True, slots=True)
class Host:
    """This machine. `programs` is where the packages are; `try_listen` returns an errno, 0 for success; `memlock` the
    limit in bytes, -1 for none.
    """

    root: Path = Path("/")
    programs: Path = Path(__file__).resolve().parent.parent
    try_listen: Callable[[Endpoint], int] = field(default=_bind)
    memlock: Callable[[], int] = field(default=_memlock)

    def read(self, path: str) -> str | None:
        """A file's text without surrounding blanks; None when it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def read_program(self, path: str) -> str | None:
        """The same of a file that belongs to Firesteel."""
        try:
            return (self.programs / path).read_text(encoding="utf-8").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        try:
            return (self.root / path.lstrip("/")).exists()
        except OSError:
            return False

    def release(self) -> str:
        """uname -r."""
        return self.read("/proc/sys/kernel/osrelease") or "unknown"

    def kernel(self) -> tuple[int, int]:
        """Major and minor of the kernel; (0, 0) when unknown."""
        found = re.match(r"(\d+)\.(\d+)", self.release())
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def process(self) -> str:
        """/proc/self/status."""
        return self.read("/proc/self/status") or ""
