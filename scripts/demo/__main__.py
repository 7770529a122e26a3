# SPDX-License-Identifier: Apache-2.0
"""The process that somebody starts and interrupts: makes what the demo stands on, plays the internet, and waits.

Its mounts (folder, names of network namespaces) are in a mount namespace of its own and go with it, whatever ends it.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from scripts.demo import grafana, network, servers
from scripts.demo.programs import CannotStart, missing, program, run
from scripts.demo.servers import ROOT

_CLONE_NEWNS = 0x00020000
_STOP_SECONDS = 40.0
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Where cgroup v2 is mounted: beside v1 on a hybrid machine, else alone.
_HIERARCHIES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


def main() -> int:
    options = argparse.ArgumentParser(prog="make demo", description=__doc__)
    options.add_argument(
        "--first-port", type=int, help="agent's metrics, its API, Prometheus, Grafana: this and the next"
    )
    options.add_argument("--rate", type=float, default=8.0, help="visits of the shop per second (default: 8)")
    options.add_argument("--visits", type=int, default=0, help="so many and no more (default: without end)")
    options.add_argument("--no-grafana", action="store_true", help="do not look for a Grafana")
    given = options.parse_args()
    if os.geteuid() != 0:
        print("demo: only root may watch the kernel and make network namespaces: sudo make demo", file=sys.stderr)
        return 3
    if lacking := missing():
        print(f"demo: missing here: apt-get install --no-install-recommends {' '.join(lacking)}", file=sys.stderr)
        return 1
    for number in ENDS:
        signal.signal(number, _give_up)
    try:
        with ExitStack() as stack:
            return _run(given, stack)
    except CannotStart as fault:
        print(f"demo: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: given up before the shop was there", file=sys.stderr)
        return 130


def _give_up(_number: int, _frame: FrameType | None) -> None:
    """Before there is a node: what was laid out goes, and no second signal ends that."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(given: argparse.Namespace, stack: ExitStack) -> int:
    folder = stack.enter_context(_folder())
    # Once more, for a node that was killed.
    stack.callback(grafana.remove, folder)
    network.lay_out()
    outside = servers.bank(folder)
    stack.callback(outside.stop)
    command = [
        program("unshare"),
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-m",
        "scripts.demo.node",
    ]
    command += [str(folder), "--rate", str(given.rate), "--visits", str(given.visits)]
    command += ["--first-port", str(given.first_port)] if given.first_port is not None else []
    command += ["--no-grafana"] if given.no_grafana else []
    # The end of its standard input tells the node to stop; said again it changes nothing.
    heard, said = os.pipe()
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if not stopped:
            stopped.append(number)
            os.close(said)

    with _out_of_unit(stack):
        # Before it is there: one that comes in between is its to hear as well.
        for number in ENDS:
            signal.signal(number, stop)
        node = subprocess.Popen(command, cwd=ROOT, stdin=heard, start_new_session=True)
    os.close(heard)
    return _ended(node, stopped)


def _ended(node: subprocess.Popen[bytes], stopped: Sequence[int]) -> int:
    """Waits without end until something is in `stopped`, then no longer than the node may take."""
    while not stopped:
        try:
            return node.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
    try:
        return node.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        node.kill()  # and the kernel everything in its process namespace
        node.wait()
        print(f"demo: it did not stop within {_STOP_SECONDS:.0f} s and was killed", file=sys.stderr)
        return 1


@contextmanager
def _folder() -> Iterator[Path]:
    """In memory, and seen by nobody else; so are the names of network namespaces."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise CannotStart(f"a mount namespace of its own was refused: {os.strerror(ctypes.get_errno())}")
    run(program("mount"), "--make-rprivate", "/")
    Path("/run/netns").mkdir(exist_ok=True)
    run(program("mount"), "-t", "tmpfs", "-o", "mode=0755", "firesteel-demo", "/run/netns")
    made = Path(tempfile.mkdtemp(prefix="firesteel-demo-"))
    try:
        run(program("mount"), "-t", "tmpfs", "-o", "mode=0755", "firesteel-demo", str(made))
        try:
            yield made
        finally:
            run(program("umount"), "--lazy", str(made))
    finally:
        made.rmdir()


@contextmanager
def _out_of_unit(stack: ExitStack) -> Iterator[None]:
    """What is started here is in a cgroup of no systemd unit: else a terminal that is one would give all processes its name.
    The cgroup goes with `stack`."""
    hierarchy = next((path for path in _HIERARCHIES if (path / "cgroup.procs").exists()), None)
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), "")
    if hierarchy is None or ".service" not in own:
        yield
        return
    made = hierarchy / f"firesteel-demo-{os.getpid()}"
    made.mkdir()
    stack.callback(made.rmdir)
    (made / "cgroup.procs").write_text("0")
    try:
        yield
    finally:
        (hierarchy / own.lstrip("/") / "cgroup.procs").write_text("0")


if __name__ == "__main__":
    sys.exit(main())
