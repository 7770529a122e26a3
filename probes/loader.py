# SPDX-License-Identifier: Apache-2.0
"""The privileged child: chooses, loads and attaches a driver, hands the descriptors to its parent, and exits.

`start` is the parent's side. Whatever goes wrong here (a verifier out of memory, a library that is missing) costs this
process only.
"""

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from probes.attachment import ITERATOR, LINK, Attachment, LoaderError, Rejected, Report, receive, send

LOADER_SECONDS = 60.0


def start(drivers: Sequence[str], ring_bytes: int) -> Attachment:
    """Runs the loader and waits for its answer. Never raises because of a kernel: then the driver is `none`."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with here, there:
        here.settimeout(LOADER_SECONDS)
        arguments = [sys.executable, "-m", "probes.loader", str(there.fileno()), str(ring_bytes), *drivers]
        child = subprocess.Popen(arguments, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
        there.close()
        try:
            attachment = receive(here)
        except LoaderError as error:
            child.kill()
            release = os.uname().release
            failed = tuple(Rejected(name, str(error), "firesteel doctor") for name in drivers if name != "none")
            attachment = Attachment(Report("none", "", release, rejected=failed))
        child.wait()
    return attachment


def main(arguments: Sequence[str] | None = None) -> int:
    """The child."""
    parser = argparse.ArgumentParser(prog="probes.loader", description="Loads a driver for the agent.")
    parser.add_argument("channel", type=int, help="descriptor of the socket to the agent")
    parser.add_argument("ring_bytes", type=int)
    parser.add_argument("drivers", nargs="+")
    given = parser.parse_args(arguments)
    channel = socket.socket(fileno=given.channel)
    from probes import drivers, facts  # noqa: PLC0415 - libbpf may be missing: then say so over the channel

    choice = drivers.choose(given.drivers, facts.gather(), given.ring_bytes)
    if choice.loaded is None:
        send(channel, choice.report, {}, {})
        return 0
    loaded = choice.loaded
    names = {"ring": "events", "control": ".data.control", "modes": ".data.modes", "counters": ".data.counters"}
    one = {role: loaded.map_fd(name) for role, name in names.items()}
    send(channel, choice.report, one, {ITERATOR: loaded.iterators, LINK: loaded.link_fds()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
