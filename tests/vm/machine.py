# SPDX-License-Identifier: Apache-2.0
"""A virtual machine for one command: a Debian kernel under plain emulation, over this machine's own file system.

The host's files are seen through 9p, read-only; what the command writes goes to memory and is gone with the machine. Only
/run/exchange, a folder of the host's, is shared for writing. No KVM, no disk image, no network but loopback.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.vm import emulator, initramfs, kernels
from tests.vm.kernels import Lacking, Unpacked

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_VARIABLE = "FIRESTEEL_VM_PATIENCE"
"""How many times longer than on a quiet machine everything may take, also inside of the machines: 1 if it is not set."""
TIMED_OUT_VARIABLE = "FIRESTEEL_VM_TIMED_OUT"
"""A file that gets a line for each machine that was killed because its time was over, and whose kernel had nothing to complain about."""
CPUS = int(os.environ.get("FIRESTEEL_VM_CPUS") or 2)
"""Emulated processors: where the host is so busy that one would wait for the other all the time, one is faster."""
EXCHANGE = Path("/run/exchange")
"""The shared folder as the command sees it."""

_GRACE_SECONDS = 5.0
# Mitigations cost a lot under emulation and protect nobody here. A panic ends the machine at once (-no-reboot). Taking a
# hook off waits for all processors: expedited, for each wait takes seconds otherwise. The kernel's own patience is for
# processors that run all the time, and so is its check at the start that the timer comes in time, after which it panics.
_KERNEL_WORDS = (
    "console=ttyS0 panic=-1 loglevel=5 mitigations=off audit=0 nokaslr random.trust_cpu=on tsc=reliable no_timer_check "
    "rcupdate.rcu_expedited=1 rcupdate.rcu_cpu_stall_timeout=300 watchdog_thresh=60"
)

_AT_ONCE = ("-accel", "tcg,thread=multi")
_IN_TURN = ("-accel", "tcg,thread=single")
_COUNTED = ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on")


def patient(seconds: float) -> float:
    """A time limit that is right on a quiet machine with two processors, as it is meant here."""
    return seconds * float(os.environ.get(PATIENCE_VARIABLE) or 1)


@dataclass(frozen=True, slots=True)
class Finished:
    """How the command ended: `status` as a shell gives it, None if the machine did not live to tell it."""

    release: str
    status: int | None
    output: str
    console: str
    """What the kernel said; after a panic, the reason is at its end."""
    timed_out: bool
    seconds: float

    @property
    def complaints(self) -> list[str]:
        """The kernel's warnings and worse."""
        marks = (
            "WARNING:",
            "BUG:",
            "Oops",
            "Call Trace:",
            "Kernel panic",
            "INFO: task",
            "soft lockup",
            "detected stalls",
        )
        return [line for line in self.console.splitlines() if any(mark in line for mark in marks)]


def run(
    kernel: str,
    command: str,
    *,
    seconds: float = 300.0,
    exchange: Path | None = None,
    memory: str = "2G",
    cpus: int = CPUS,
    words: str = "",
    counted: bool = False,
    cwd: Path = ROOT,
    told: Callable[[str], None] | None = None,
) -> Finished:
    """Boots `kernel` (see kernels.KERNELS), runs `command` by bash in `cwd`, and switches the machine off.

    `exchange` is the host's folder behind /run/exchange (else a temporary one), `words` are more words for the kernel's
    command line (FS_CGROUP=hybrid, kasan...), `told` is called with each piece of output as it comes. After `seconds`
    times FIRESTEEL_VM_PATIENCE the machine is killed. In a `counted` one a nanosecond is an instruction, whatever else the
    host does: one processor at a time, slower. Raises Lacking if the kernel or qemu cannot be had here.
    """
    unpacked = kernels.get(kernel)
    qemu = emulator.get()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="firesteel-vm-") as made:
        folder = Path(made)
        shared = exchange or folder / "exchange"
        shared.mkdir(exist_ok=True)
        for old in ("status", "command"):
            (shared / old).unlink(missing_ok=True)
        (shared / "command").write_text(command + "\n")
        console = folder / "console"
        machine = [
            *qemu.command,
            *_machine(unpacked, folder, shared, memory, cpus),
            *(_COUNTED if counted else _AT_ONCE if qemu.sound else _IN_TURN),
            *(
                "-serial",
                f"file:{console}",
                "-serial",
                "stdio",
                "-append",
                f"{_KERNEL_WORDS} {_passed_on(cwd)} {words}",
            ),
        ]
        with _started(machine, folder / "complaints") as process:
            timed_out, output = _follow(process, patient(seconds), told)
        status = shared / "status"
        finished = Finished(
            release=unpacked.release,
            status=int(status.read_text()) if status.exists() and status.read_text().strip() else None,
            output=output,
            console=(console.read_text(errors="replace") if console.exists() else "")
            + (folder / "complaints").read_text(errors="replace"),
            timed_out=timed_out,
            seconds=time.monotonic() - began,
        )
    tell(finished)
    return finished


def tell(finished: Finished) -> None:
    """Writes the line of FIRESTEEL_VM_TIMED_OUT, if there is one to write."""
    path = os.environ.get(TIMED_OUT_VARIABLE)
    if path and finished.timed_out and not finished.complaints:
        with Path(path).open("a") as told:
            told.write(f"{finished.release} after {finished.seconds:.0f} s\n")


def _machine(kernel: Unpacked, folder: Path, shared: Path, memory: str, cpus: int) -> list[str]:
    return [
        *("-cpu", "max,la57=off", "-machine", "pc", "-smp", str(cpus), "-m", memory),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel.image), "-initrd", str(initramfs.pack(kernel, folder))),
        *_share("host", Path("/"), read_only=True),
        *_share("kernel", kernel.root, read_only=True),
        *_share("exchange", shared, read_only=False),
    ]


def _passed_on(cwd: Path) -> str:
    """What of this environment the command gets, as words of the kernel's: `.venv` may belong to another tree."""
    return f"FS_CWD={cwd} PYTHONPATH={ROOT} {PATIENCE_VARIABLE}={patient(1):g}"


def _share(tag: str, path: Path, *, read_only: bool) -> list[str]:
    options = f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap"
    return ["-virtfs", options + (",readonly=on" if read_only else "")]


@contextmanager
def _started(machine: list[str], complaints: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Ended by its own process id, whatever happens here."""
    with complaints.open("wb") as errors:
        process = subprocess.Popen(machine, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _follow(process: "subprocess.Popen[bytes]", seconds: float, told: Callable[[str], None] | None) -> tuple[bool, str]:
    """Whether time ran out, and what the command wrote."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    pieces = []
    assert process.stdout is not None
    try:
        while piece := os.read(process.stdout.fileno(), 65536):
            text = piece.decode(errors="replace")
            pieces.append(text)
            if told is not None:
                told(text)
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    finally:
        timer.cancel()
    return expired.is_set(), "".join(pieces)


def available() -> str:
    """Empty, or what is missing here to run any machine."""
    try:
        emulator.of_this_machine()
    except Lacking as lacking:
        return str(lacking)
    return ""
