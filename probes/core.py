# SPDX-License-Identifier: Apache-2.0
"""The core driver: loads the prebuilt CO-RE programs and attaches each hook of one column of the table.

The columns are tried in order: trampolines wherever they load, then the socket tracepoints. An optional
program that the verifier or the kernel refuses is left out with its reason; a required one rejects the column. Nothing is
pinned.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from probes import programs
from probes._libbpf import ffi, lib
from probes.attachment import ITERATOR, LINK, HookReport
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import Attach, Hook, HookSet, hooks_of
from probes.programs import Flavour, Refused

HOOK_SET_VARIABLE = "FIRESTEEL_CORE_HOOK_SET"
"""Only this column is tried: to see how one works on a kernel that would use another."""

COLUMNS = (
    (HookSet.TRAMPOLINES, Flavour.TYPED),
    (HookSet.TRAMPOLINES, Flavour.UNTYPED),
    (HookSet.TRACEPOINTS, Flavour.TYPED),
)
_ITERATORS = 4
"""Iterator descriptors made in advance: one for each start of an engine; bpf() itself may be refused later."""
_NEEDS_OWN_TYPES = frozenset({Attach.ENTRY, Attach.EXIT, Attach.ITERATOR})
_OTHERWISE = "another driver, or a newer kernel; firesteel doctor says more"


@dataclass(slots=True)
class Loaded:
    """A loaded column in the loader's process. Its descriptors are borrowed from libbpf."""

    object: Any
    ring_bytes: int
    column: HookSet
    flavour: Flavour
    links: list[Any] = field(default_factory=list)
    iterators: list[int] = field(default_factory=list)
    hooks: list[HookReport] = field(default_factory=list)

    @property
    def hook_set(self) -> str:
        return self.column.value

    @property
    def tells_peers(self) -> bool:
        return all(hook.attached for hook in self.hooks if hook.name in {"cgroup/sendmsg4", "cgroup/recvmsg4"})

    def one(self) -> dict[str, int]:
        names = {"ring": "events", "control": ".data.control", "modes": ".data.modes", "counters": ".data.counters"}
        return {role: self.map_fd(name) for role, name in names.items()}

    def many(self) -> dict[str, list[int]]:
        return {ITERATOR: self.iterators, LINK: [int(lib.bpf_link__fd(link)) for link in self.links]}

    def map_fd(self, name: str) -> int:
        found = lib.bpf_object__find_map_by_name(self.object, name.encode())
        if found == ffi.NULL:
            raise Rejection(f"the programs have no map {name}", "rebuild: make build")
        return int(lib.bpf_map__fd(found))

    def close(self) -> None:
        for link in self.links:
            lib.bpf_link__destroy(link)
        for fd in self.iterators:
            os.close(fd)
        lib.bpf_object__close(self.object)
        self.links.clear()
        self.iterators.clear()


def candidates(facts: Facts, ring_bytes: int) -> Iterator[Callable[[], Loaded]]:
    """One for each column of hooks. Raises Rejection if there is nothing to try."""
    if not facts.has_btf and facts.btf is None:
        raise Rejection(
            "the kernel has no BTF (/sys/kernel/btf/vmlinux)",
            "a kernel with CONFIG_DEBUG_INFO_BTF=y, or --btf FILE with this kernel's types",
        )
    programs.use_types(facts)
    only = os.environ.get(HOOK_SET_VARIABLE, "")
    if only and only not in {hook_set.value for hook_set in HookSet}:
        raise Rejection(
            f"{HOOK_SET_VARIABLE} is {only!r}", f"one of {', '.join(hook_set.value for hook_set in HookSet)}"
        )
    for hook_set, flavour in COLUMNS:
        if only in {"", hook_set.value}:
            yield partial(load, hook_set, flavour, facts, ring_bytes)


def load(hook_set: HookSet, flavour: Flavour, facts: Facts, ring_bytes: int) -> Loaded:
    """One column, attached. Raises Rejection, which names it."""
    try:
        return _load(hook_set, flavour, facts, ring_bytes)
    except Rejection as rejection:
        raise Rejection(f"{hook_set.value}, {flavour.value}: {rejection.reason}", rejection.remedy) from None


def _load(hook_set: HookSet, flavour: Flavour, facts: Facts, ring_bytes: int) -> Loaded:
    wanted, reports = _fitting(hook_set, facts)
    while isinstance(loaded := programs.load(flavour, facts, ring_bytes, wanted), Refused):
        # One program was refused: without it, if it is optional.
        refused = next(hook for hook in wanted if hook.program == loaded.program)
        if refused.required:
            raise Rejection(f"the kernel refused {refused.name}: {loaded.reason}", _OTHERWISE)
        wanted = [hook for hook in wanted if hook is not refused]
        reports.append(HookReport(refused.name, False, False, f"refused: {loaded.reason}", refused.loses))
    column = Loaded(loaded, ring_bytes, hook_set, flavour)
    try:
        reports += [_attach(column, hook, facts) for hook in wanted]
    except Rejection:
        column.close()
        raise
    order = [hook.name for hook in hooks_of(hook_set)]
    column.hooks = sorted(reports, key=lambda report: order.index(report.name))
    return column


def _fitting(hook_set: HookSet, facts: Facts) -> tuple[list[Hook], list[HookReport]]:
    """The column's hooks that this kernel has, and a report of each optional one that it lacks."""
    fitting: list[Hook] = []
    reports: list[HookReport] = []
    rows = hooks_of(hook_set)
    for i, hook in enumerate(rows):
        if any(hook.name == other.name for other in fitting):
            continue
        lacks = _lacks(hook, facts)
        if not lacks:
            fitting.append(hook)
        elif hook.until is not None and facts.version >= hook.until:
            continue
        elif hook.required:
            raise Rejection(f"{lacks} ({hook.purpose})", _OTHERWISE)
        elif not any(hook.name == other.name for other in rows[i + 1 :]):
            reports.append(HookReport(hook.name, False, False, lacks, hook.loses))
    return fitting, reports


def _lacks(hook: Hook, facts: Facts) -> str:
    if hook.attach is Attach.CGROUP:
        return "" if facts.cgroup_root is not None else "no cgroup v2 is mounted"
    if hook.attach in _NEEDS_OWN_TYPES and not facts.has_btf:
        return f"{hook.attach.value} needs a kernel with BTF of its own"
    if hook.attach is Attach.ITERATOR:
        return ""
    tracepoint = hook.attach is Attach.TRACEPOINT
    what = "tracepoint" if tracepoint else "function"
    arguments = (lib.fs_tracepoint_arguments if tracepoint else lib.fs_function_arguments)(hook.name.encode())
    if arguments < 0:
        return f"this kernel has no {what} {hook.name}"
    if arguments < hook.arguments:
        return f"{what} {hook.name} has {arguments} arguments here, {hook.arguments} are needed"
    return ""


def _attach(column: Loaded, hook: Hook, facts: Facts) -> HookReport:
    program = lib.bpf_object__find_program_by_name(column.object, hook.program.encode())
    if hook.attach is Attach.CGROUP:
        directory = os.open(str(facts.cgroup_root), os.O_RDONLY | os.O_DIRECTORY)
        link = lib.bpf_program__attach_cgroup(program, directory)
        number = ffi.errno
        os.close(directory)
    else:
        link = lib.bpf_program__attach(program)
        number = ffi.errno
    if link == ffi.NULL:
        reason = f"cannot attach: {os.strerror(number)}"
        if hook.required:
            raise Rejection(f"{hook.name} {reason}", _OTHERWISE)
        return HookReport(hook.name, False, False, reason, hook.loses)
    column.links.append(link)
    if hook.attach is Attach.ITERATOR:
        made = [lib.bpf_iter_create(lib.bpf_link__fd(link)) for _ in range(_ITERATORS)]
        column.iterators += [fd for fd in made if fd >= 0]
        if not column.iterators:
            return HookReport(hook.name, False, False, f"cannot be read: {os.strerror(-made[0])}", hook.loses)
    return HookReport(hook.name, True, hook.required, "", hook.loses)
