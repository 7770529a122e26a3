# SPDX-License-Identifier: Apache-2.0
"""The privileged child: chooses, loads and attaches a driver, hands the descriptors to its parent, and exits.

`Loading` is the parent's side. Whatever goes wrong here (a verifier out of memory, a library that is missing) costs this
process only.
"""

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from probes.attachment import Attachment, LoaderError, Rejected, Report, receive, send

# -P: with all privileges, nothing is imported from the folder in which the user happens to be.
PROGRAM = (sys.executable, "-P", "-m", "probes.loader")
LOADER_SECONDS = 300.0
"""A compiler on a small node that is busy takes its time."""
_EXIT_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


class Loading:
    """The loader at work, so that its parent can get ready meanwhile. `finish` once, or `abandon`."""

    def __init__(self, drivers: Sequence[str], ring_bytes: int, btf: str = "") -> None:
        """`btf` is a file with the kernel's types; empty: the kernel tells them."""
        self._drivers = drivers
        self._child: subprocess.Popen[bytes] | None = None
        self._fault = ""
        # Of packets: a report is never read in parts.
        self._channel, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            numbers = (str(there.fileno()), str(ring_bytes), str(os.getpid()))
            arguments = [*PROGRAM, f"--btf={btf}", *numbers, *drivers]
            try:
                self._child = subprocess.Popen(arguments, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
            except OSError as error:
                self._fault = f"the loader cannot be started: {error}"

    def finish(self) -> Attachment:
        """Waits for the answer. Never raises because of a kernel: then the driver is `none`."""
        if self._child is None:
            self._channel.close()
            return Attachment(_failed(self._drivers, self._fault, "make it executable for this user"))
        self._channel.settimeout(LOADER_SECONDS)
        try:
            attachment = receive(self._channel)
        except LoaderError as error:
            self._child.kill()
            attachment = Attachment(_failed(self._drivers, str(error), "firesteel doctor"))
        self._channel.close()
        try:
            self._child.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        return attachment

    def abandon(self) -> None:
        """Ends it, and with it every hook that it has put on."""
        self._channel.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()


def start(drivers: Sequence[str], ring_bytes: int, btf: str = "") -> Attachment:
    """Runs the loader and waits for its answer."""
    return Loading(drivers, ring_bytes, btf).finish()


def _failed(drivers: Sequence[str], reason: str, remedy: str) -> Report:
    rejected = tuple(Rejected(name, reason, remedy) for name in drivers if name != "none")
    return Report("none", "", os.uname().release, rejected=rejected)


def main(arguments: Sequence[str] | None = None) -> int:
    """The child."""
    parser = argparse.ArgumentParser(prog="probes.loader", description="Loads a driver for the agent.")
    parser.add_argument("channel", type=int, help="descriptor of the socket to the agent")
    parser.add_argument("ring_bytes", type=int)
    parser.add_argument("parent", type=int, help="process id of the agent: this process ends with it")
    parser.add_argument("drivers", nargs="+")
    parser.add_argument("--btf", default="", help="file with the kernel's types")
    given = parser.parse_args(arguments)
    channel = socket.socket(fileno=given.channel)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != given.parent:
        return 1
    try:
        from probes import drivers, facts  # noqa: PLC0415 - libbpf may be missing: then say so over the channel

        btf = Path(given.btf) if given.btf else None
        choice = drivers.choose(given.drivers, facts.gather(btf=btf), given.ring_bytes)
    except ImportError as error:
        send(channel, _failed(given.drivers, f"the loader is incomplete: {error}", "make build, libbpf1"), {}, {})
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is: the agent goes on with less, and says why
        reason = f"the loader failed: {type(error).__name__}: {error}"
        send(channel, _failed(given.drivers, reason, "please report it with this message"), {}, {})
        return 1
    if choice.loaded is None:
        send(channel, choice.report, {}, {})
        return 0
    send(channel, choice.report, choice.loaded.one(), choice.loaded.many())
    return 0


if __name__ == "__main__":
    sys.exit(main())
