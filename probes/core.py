# SPDX-License-Identifier: Apache-2.0
"""The core driver: loads the prebuilt CO-RE programs and attaches each hook of one column of the table.

The columns are tried in order: trampolines wherever they load, then the socket tracepoints, then kprobes. An optional
program that the verifier or the kernel refuses is left out with its reason; a required one rejects the column. Nothing is
pinned.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from probes import perf_rings, programs
from probes._libbpf import ffi, lib
from probes.attachment import ITERATOR, LINK, PERF_RING, HookReport
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import Attach, Hook, HookSet, hooks_of
from probes.programs import Flavour, Refused

COLUMN_VARIABLE = "FIRESTEEL_CORE_COLUMN"
"""Only this way of loading is tried: to see how one works on a kernel that would use another. Words of a column."""

PERF_RINGS = "perf-rings"
"""The word for what kernels without a BPF ring use."""

COLUMNS = (
    (HookSet.TRAMPOLINES, Flavour.TYPED),
    (HookSet.TRAMPOLINES, Flavour.UNTYPED),
    (HookSet.TRACEPOINTS, Flavour.TYPED),
    (HookSet.KPROBES, Flavour.UNTYPED),
)
_ITERATORS = 4
"""Iterator descriptors made in advance: one for each start of an engine; bpf() itself may be refused later."""
_NEEDS_OWN_TYPES = frozenset({Attach.ENTRY, Attach.EXIT, Attach.ITERATOR})
_KPROBE_EVENTS = Path("/sys/bus/event_source/devices/kprobe")
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
    rings: list[int] = field(default_factory=list)
    """Perf rings, one for each processor, where there is no BPF ring."""
    hooks: list[HookReport] = field(default_factory=list)

    @property
    def hook_set(self) -> str:
        return self.column.value

    @property
    def tells_peers(self) -> bool:
        return all(hook.attached for hook in self.hooks if hook.name in {"cgroup/sendmsg4", "cgroup/recvmsg4"})

    def one(self) -> dict[str, int]:
        names = {"control": ".data.control", "modes": ".data.modes", "counters": ".data.counters"}
        if not self.rings:
            names["ring"] = "events"
        return {role: self.map_fd(name) for role, name in names.items()}

    def many(self) -> dict[str, list[int]]:
        links = [int(lib.bpf_link__fd(link)) for link in self.links]
        return {ITERATOR: self.iterators, LINK: links, PERF_RING: self.rings}

    def map_fd(self, name: str) -> int:
        found = lib.bpf_object__find_map_by_name(self.object, name.encode())
        if found == ffi.NULL:
            raise Rejection(f"the programs have no map {name}", "rebuild: make build")
        return int(lib.bpf_map__fd(found))

    def close(self) -> None:
        for link in self.links:
            lib.bpf_link__destroy(link)
        for fd in [*self.iterators, *self.rings]:
            os.close(fd)
        lib.bpf_object__close(self.object)
        self.links.clear()
        self.iterators.clear()
        self.rings.clear()


def candidates(facts: Facts, ring_bytes: int) -> Iterator[Callable[[], Loaded]]:
    """One for each column of hooks. Raises Rejection if there is nothing to try."""
    if not facts.has_btf and facts.btf is None:
        raise Rejection(
            "the kernel has no BTF (/sys/kernel/btf/vmlinux)",
            "a kernel with CONFIG_DEBUG_INFO_BTF=y, or --btf FILE with this kernel's types",
        )
    programs.use_types(facts)
    only = frozenset(os.environ.get(COLUMN_VARIABLE, "").split())
    known = {PERF_RINGS}.union(*({hook_set.value, flavour.value} for hook_set, flavour in COLUMNS))
    if unknown := only - known:
        raise Rejection(f"{COLUMN_VARIABLE}: no {' or '.join(sorted(unknown))}", f"words of {', '.join(sorted(known))}")
    for hook_set, flavour in COLUMNS:
        if only <= {hook_set.value, flavour.value, PERF_RINGS}:
            ring = flavour is Flavour.TYPED or (PERF_RINGS not in only and programs.has_ring())
            yield partial(load, hook_set, flavour, facts, ring_bytes, ring=ring)


def load(hook_set: HookSet, flavour: Flavour, facts: Facts, ring_bytes: int, *, ring: bool = True) -> Loaded:
    """One column, attached, with a BPF ring or with perf rings. Raises Rejection, which names the column."""
    try:
        return _load(hook_set, flavour, facts, ring_bytes, ring=ring)
    except Rejection as rejection:
        raise Rejection(f"{hook_set.value}, {flavour.value}: {rejection.reason}", rejection.remedy) from None


def _load(hook_set: HookSet, flavour: Flavour, facts: Facts, ring_bytes: int, *, ring: bool) -> Loaded:
    wanted, reports = _fitting(hook_set, facts)
    while isinstance(loaded := programs.load(flavour, facts, ring_bytes, wanted, ring=ring), Refused):
        # One program was refused: without it, if it is optional.
        refused = [hook for hook in wanted if hook.program == loaded.program]
        if any(hook.required for hook in refused):
            raise refusal(refused[0], loaded)
        wanted = [hook for hook in wanted if hook not in refused]
        reports += [HookReport(hook.name, False, False, f"refused: {loaded.reason}", hook.loses) for hook in refused]
    column = Loaded(loaded, ring_bytes, hook_set, flavour)
    try:
        if not ring:
            _open_perf_rings(column)
        reports += [_attach(column, hook, facts) for hook in wanted]
    except Rejection:
        column.close()
        raise
    order = [hook.name for hook in hooks_of(hook_set)]
    column.hooks = sorted(reports, key=lambda report: order.index(report.name))
    return column


def refusal(hook: Hook, refused: Refused) -> Rejection:
    """Maps could be made, so bpf() as such is permitted: it is about this kind of program."""
    if refused.number == errno.EPERM:
        return Rejection(
            f"the kernel does not permit {hook.attach.value} programs ({hook.name}: {refused.reason})",
            "CAP_PERFMON; lockdown and other security modules refuse some kinds to root as well",
        )
    return Rejection(f"the kernel refused {hook.attach.value} {hook.name}: {refused.reason}", _OTHERWISE)


def _open_perf_rings(column: Loaded) -> None:
    """Raises Rejection."""
    processors = perf_rings.online()
    if len(processors) > perf_rings.MOST_PROCESSORS:
        raise Rejection(
            f"{len(processors)} processors are more than perf rings can be handed over for", "a kernel from 5.8 on"
        )
    try:
        column.rings = perf_rings.open_rings(processors)
    except OSError as error:
        raise Rejection(f"perf rings cannot be opened: {error.strerror}", "CAP_PERFMON or CAP_SYS_ADMIN") from None
    column.ring_bytes = perf_rings.share_of(column.ring_bytes, len(processors))
    events = column.map_fd("perf_events")
    for processor, ring in zip(processors, column.rings, strict=True):
        lib.bpf_map_update_elem(events, ffi.new("int *", processor), ffi.new("int *", ring), 0)


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
        elif not hook.is_needed(facts.version):
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
    if hook.attach in {Attach.KPROBE, Attach.KRETPROBE} and not _KPROBE_EVENTS.exists():
        return "this kernel has no kprobes (CONFIG_KPROBE_EVENTS)"
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
    link, number = _link(program, hook, facts)
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


def _link(program: Any, hook: Hook, facts: Facts) -> tuple[Any, int]:
    """A link of libbpf, or its NULL and the errno."""
    if hook.attach is Attach.CGROUP:
        directory = os.open(str(facts.cgroup_root), os.O_RDONLY | os.O_DIRECTORY)
        link = lib.bpf_program__attach_cgroup(program, directory)
        number = ffi.errno
        os.close(directory)
        return link, number
    if hook.attach in {Attach.KPROBE, Attach.KRETPROBE}:
        link = lib.bpf_program__attach_kprobe(program, hook.attach is Attach.KRETPROBE, hook.name.encode())
    else:
        link = lib.bpf_program__attach(program)
    return link, ffi.errno
