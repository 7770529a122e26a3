# SPDX-License-Identifier: Apache-2.0
"""`firesteel uninstall`: takes from a node what outlives the agent, which is the kernel module and /var/lib/firesteel.

Everything else ends with the agent: nothing is pinned in the kernel, and no file of the system was changed. What somebody had
dkms build is dkms' own (`dkms remove`), and is named here rather than removed.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from collector import capabilities
from collector.options import Exit
from probes import module_file

STATE: Final = "var/lib/firesteel"
_OURS: Final = ("modules", "bcc")
"""What Firesteel writes below; anything else in that folder somebody put there."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was found. `fault` is why it is still there, `remedy` what to do about that."""

    what: str
    fault: str = ""
    remedy: str = ""


def uninstall(
    root: str, *, dry: bool, out: TextIO | None = None, unload: Callable[[], str] = module_file.unload
) -> Exit:
    """`root` is where the node's files are (/, in a container where they are mounted). NOT_AS_WISHED if something stays,
    WRONG_USE if no node's files are there."""
    out = out or sys.stdout
    node = Path(root)
    if not (place := (node / STATE).parent).is_dir():
        # Every node has that folder: where it is not, these are not a node's files, and finding nothing would say nothing.
        told = f"there is no folder {place}; name where the node's files are with --node-root, or mount them there"
        print(f"firesteel uninstall: {told}", file=sys.stderr)
        return Exit.WRONG_USE
    if not dry and os.geteuid() != 0:
        print("firesteel uninstall: only root may do that; sudo firesteel uninstall", file=sys.stderr)
        return Exit.NOT_PERMITTED
    found = [*_module(unload, dry=dry), *_folders(node / STATE, dry=dry), *_dkms(node)]
    for step in found:
        print(f"{step.what}: {step.fault}; {step.remedy}" if step.fault else step.what, file=out)
    if not found:
        print("nothing of Firesteel is on this node", file=out)
    return Exit.NOT_AS_WISHED if any(step.fault for step in found) else Exit.DONE


def _module(unload: Callable[[], str], *, dry: bool) -> Iterator[Step]:
    version = module_file.loaded_version()
    if version is None:
        return
    if dry:
        yield Step(f"would unload the kernel module {module_file.NAME} {version}")
        return
    what = f"kernel module {module_file.NAME} {version}"
    if missing := {"SYS_MODULE"} - capabilities.effective():
        yield Step(
            what, f"not unloaded, CAP_{missing.pop()} is missing", "sudo firesteel uninstall, outside of a container"
        )
    elif fault := unload():
        yield Step(what, f"not unloaded, {fault}", "stop the agent, and call this again")
    else:
        yield Step(f"unloaded {what}")


def _folders(state: Path, *, dry: bool) -> Iterator[Step]:
    if state.is_symlink():
        yield Step(
            str(state),
            "is a symbolic link, and is not followed",
            f"remove it and what it points to: {state.readlink()}",
        )
        return
    if not state.is_dir():
        return
    for name in _OURS:
        folder = state / name
        if not folder.exists() and not folder.is_symlink():
            continue
        if dry:
            yield Step(f"would remove {folder}")
            continue
        yield _remove(folder)
    rest = sorted(path.name for path in state.iterdir() if not (dry and path.name in _OURS))
    if rest and not (set(rest) & set(_OURS)):
        yield Step(str(state), f"has what Firesteel did not write: {', '.join(rest)}", "look at it and remove it")
    elif dry:
        yield Step(f"would remove {state}")
    elif not rest:
        yield _remove(state)


def _remove(folder: Path) -> Step:
    try:
        if folder.is_symlink():
            folder.unlink()
        elif any(folder.iterdir()):
            shutil.rmtree(folder)
        else:
            folder.rmdir()
    except OSError as error:
        return Step(
            str(folder), f"not removed, {error.strerror}", "is it mounted, or read-only? umount it, and call this again"
        )
    return Step(f"removed {folder}")


def _dkms(node: Path) -> Iterator[Step]:
    for tree in sorted((node / "usr/src").glob("firesteel-*")):
        if (tree / "dkms.conf").exists():
            version = tree.name.removeprefix("firesteel-")
            yield Step(
                str(tree),
                "dkms builds the module from it",
                # Typed on the node, where a container's mounts are elsewhere.
                f"dkms remove -m firesteel -v {version} --all, then rm -r /{tree.relative_to(node)}",
            )
