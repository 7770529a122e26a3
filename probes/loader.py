# SPDX-License-Identifier: Apache-2.0
"""The privileged child: chooses, loads and attaches a driver, hands the descriptors to its parent, and exits.

`start` is the parent's side. Whatever goes wrong here (a verifier out of memory, a library that is missing) costs this
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

from probes.attachment import Attachment, LoaderError, Rejected, Report, receive, send

# -P: with all privileges, nothing is imported from the folder in which the user happens to be.
PROGRAM = (sys.executable, "-P", "-m", "probes.loader")
LOADER_SECONDS = 60.0
_EXIT_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


def start(drivers: Sequence[str], ring_bytes: int) -> Attachment:
    """Runs the loader and waits for its answer. Never raises because of a kernel: then the driver is `none`."""
    # Of packets: a report is never read in parts.
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        here.settimeout(LOADER_SECONDS)
        arguments = [*PROGRAM, str(there.fileno()), str(ring_bytes), str(os.getpid()), *drivers]
        child = subprocess.Popen(arguments, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
        there.close()
        try:
            attachment = receive(here)
        except LoaderError as error:
            child.kill()
            attachment = Attachment(_failed(drivers, str(error), "firesteel doctor"))
        try:
            child.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return attachment


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
    given = parser.parse_args(arguments)
    channel = socket.socket(fileno=given.channel)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != given.parent:
        return 1
    try:
        from probes import drivers, facts  # noqa: PLC0415 - libbpf may be missing: then say so over the channel

        choice = drivers.choose(given.drivers, facts.gather(), given.ring_bytes)
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
