# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vm run --kernel 6.1 -- 'command'`: one command under another kernel. `list` and `fetch` are the rest."""

import argparse
import shlex
import sys
import time
from pathlib import Path

from tests.vm import debug_kernel, emulator, kernels, machine, modules

_LACKING = 3


def main() -> int:
    """The command's own exit status; 124 after a time-out, 125 when the machine did not live to tell, 3 if it cannot be had here."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    names = [kernel.name for kernel in kernels.KERNELS]
    bootable = [*names, kernels.DEBUG.name]
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="kernels, and which of them are here")
    fetch = actions.add_parser("fetch", help="have kernels and their headers here, of a week ago at most")
    fetch.add_argument("--compiler", action="store_true", help="also what the kernel module is compiled with")
    fetch.add_argument("--seconds", type=float, default=kernels.NEVER, help="give up after so long in all")
    fetch.add_argument("kernels", nargs="*", choices=[[], *names], default=[], metavar="KERNEL", help="(all)")
    actions.add_parser("debug-kernel", help="build the kernel that watches over what runs in it: half an hour")
    run = actions.add_parser("run", help="run a command")
    run.add_argument("--kernel", choices=bootable, required=True)
    run.add_argument("--seconds", type=float, default=300.0, help="kill the machine after so long (300)")
    run.add_argument("--memory", default="2G")
    run.add_argument("--cpus", type=int, default=machine.CPUS)
    run.add_argument("--words", default="", help="more words for the kernel's command line, FS_CGROUP=hybrid")
    run.add_argument("--counted", action="store_true", help="time counts instructions, a nanosecond each")
    run.add_argument("--exchange", type=Path, help="the host's folder behind /run/exchange")
    run.add_argument("--console", action="store_true", help="print what the kernel said, at the end")
    run.add_argument("command", nargs="+", help="one word: a line for bash; several: a program and its arguments")
    given = parser.parse_args()
    try:
        if given.action == "list":
            return _list()
        if given.action == "fetch":
            ends = time.monotonic() + given.seconds
            print(emulator.get(ends), flush=True)
            return max([_fetch(name, given.compiler, ends) for name in given.kernels or names])
        if given.action == "debug-kernel":
            print(f"debug: {debug_kernel.build()}")
            return 0
        return _run(given)
    except kernels.Lacking as lacking:
        print(f"firesteel-vm: {lacking}", file=sys.stderr)
        return _LACKING


def _fetch(name: str, compiler: bool, ends: float) -> int:
    try:
        unpacked, why = kernels.fresh(name, ends)
        with_what = f", {modules.fetch(name, ends)}" if compiler else ""
    except kernels.Lacking as lacking:
        print(f"firesteel-vm: {lacking}", file=sys.stderr)
        return _LACKING
    days = (time.time() - unpacked.root.with_name("release").stat().st_mtime) / 86400
    kept = f"; there was no newer one to be had: {why}" if why else ""
    print(f"{name}: {unpacked.release}{with_what} in {unpacked.root}, fetched {days:.0f} days ago{kept}", flush=True)
    return 0


def _list() -> int:
    for kernel in (*kernels.KERNELS, kernels.DEBUG):
        release = kernels.cache() / kernel.name / "release"
        here = release.read_text().strip() if release.exists() else "not here yet"
        print(f"{kernel.name:8} {kernel.suite:10} {here}")
    return 0


def _run(given: argparse.Namespace) -> int:
    command = given.command[0] if len(given.command) == 1 else shlex.join(given.command)

    def told(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    finished = machine.run(
        given.kernel,
        command,
        seconds=given.seconds,
        memory=given.memory,
        cpus=given.cpus,
        words=given.words,
        counted=given.counted,
        exchange=given.exchange,
        told=told,
    )
    if given.console or finished.status is None:
        print(finished.console, file=sys.stderr)
    summary = f"firesteel-vm: {finished.release}, status {finished.status}, {finished.seconds:.1f} s"
    print(summary + (", timed out" if finished.timed_out else ""), file=sys.stderr)
    if finished.timed_out:
        return 124
    return 125 if finished.status is None else finished.status


if __name__ == "__main__":
    sys.exit(main())
