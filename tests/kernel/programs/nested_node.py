# SPDX-License-Identifier: Apache-2.0
"""A node that is a container: nested_node.py DEPTH PORT COMMAND...

Goes DEPTH pid namespaces down, mounts /proc there, serves HTTP on 127.0.0.1:PORT, and runs COMMAND beside it. SIGTERM is
handed on to COMMAND; everything ends with it.
"""

import ctypes
import functools
import os
import signal
import subprocess
import sys

_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def _hand_on(child: int, number: int, _frame: object) -> None:
    os.kill(child, number)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _descend(depth: int) -> None:
    """Returns in the first process of the innermost namespace; the processes above hand signals and results on."""
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(depth):
        _checked(libc.unshare(_CLONE_NEWPID | _CLONE_NEWNS))
        child = os.fork()
        if child:
            signal.signal(signal.SIGTERM, functools.partial(_hand_on, child))
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    _checked(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    _checked(libc.mount(b"proc", b"/proc", b"proc", 0, None))


def main() -> None:
    depth, port, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    _descend(depth)
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port]
    with subprocess.Popen(serve, stderr=subprocess.DEVNULL) as server, subprocess.Popen(command) as process:
        signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
        process.wait()
        server.kill()


if __name__ == "__main__":
    main()
