# SPDX-License-Identifier: Apache-2.0
"""The core driver: loads the prebuilt CO-RE programs and attaches each hook of the table.

An optional program that the verifier or the kernel refuses is left out with its reason; a required one rejects the
driver. Nothing is pinned.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes._libbpf import ffi, lib
from probes.attachment import ITERATOR, LINK, HookReport
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import HOOKS, LOSS_REASONS, Attach, Hook

OBJECT = Path(__file__).parent / "ebpf" / "firesteel.bpf.o"
_FAILED_PROGRAM = re.compile(r"prog '(\w+)': (?:failed to load|BPF program load failed)")
_REASON_BITS = 256
_ITERATORS = 4
"""Iterator descriptors made in advance: one for each start of an engine; bpf() itself may be refused later."""


@dataclass(slots=True)
class Loaded:
    """A loaded driver in the loader's process. Its descriptors are borrowed from libbpf."""

    object: Any
    ring_bytes: int
    links: list[Any] = field(default_factory=list)
    iterators: list[int] = field(default_factory=list)
    hooks: list[HookReport] = field(default_factory=list)

    @property
    def hook_set(self) -> str:
        return "socket-tracepoints"

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
    """One for each column of hooks."""
    yield lambda: load(facts, ring_bytes)


def load(facts: Facts, ring_bytes: int, path: Path = OBJECT) -> Loaded:
    """Raises Rejection."""
    if not facts.has_btf:
        raise Rejection("the kernel has no BTF (/sys/kernel/btf/vmlinux)", "a kernel with CONFIG_DEBUG_INFO_BTF=y")
    if not path.exists():
        raise Rejection(f"{path.name} is missing", "build it: make build")
    wanted, reports = _fitting(facts)
    while True:
        loaded = _try_load(facts, ring_bytes, path, wanted)
        if isinstance(loaded, Loaded):
            break
        # One program was refused: without it, if it is optional.
        refused = next(hook for hook in wanted if hook.program == loaded.program)
        if refused.required:
            raise Rejection(
                f"the kernel refused {refused.name}: {loaded.reason}",
                "another driver, or a kernel from 6.3 on; firesteel doctor says more",
            )
        wanted = [hook for hook in wanted if hook is not refused]
        reports.append(HookReport(refused.name, False, False, f"refused: {loaded.reason}", refused.loses))
    try:
        reports += [_attach(loaded, hook, facts) for hook in wanted]
    except Rejection:
        loaded.close()
        raise
    order = [hook.name for hook in HOOKS]
    loaded.hooks = sorted(reports, key=lambda report: order.index(report.name))
    return loaded


@dataclass(frozen=True, slots=True)
class _Refused:
    program: str
    reason: str


def _fitting(facts: Facts) -> tuple[list[Hook], list[HookReport]]:
    """The hooks that this kernel has, and a report of each optional one that it lacks."""
    fitting: list[Hook] = []
    reports: list[HookReport] = []
    for hook in HOOKS:
        if any(hook.name == other.name for other in fitting):
            continue
        lacks = _lacks(hook, facts)
        if not lacks:
            fitting.append(hook)
        elif hook.required:
            raise Rejection(f"{lacks} ({hook.purpose})", "another driver, or a kernel from 6.3 on")
        elif not any(hook.name == other.name for other in HOOKS[HOOKS.index(hook) + 1 :]):
            reports.append(HookReport(hook.name, False, False, lacks, hook.loses))
    return fitting, reports


def _lacks(hook: Hook, facts: Facts) -> str:
    if hook.attach is Attach.CGROUP and facts.cgroup_root is None:
        return "no cgroup v2 is mounted"
    if hook.attach is Attach.TRACEPOINT:
        arguments = lib.fs_tracepoint_arguments(hook.name.encode())
        if arguments < 0:
            return f"this kernel has no tracepoint {hook.name}"
        if arguments < hook.arguments:
            return f"tracepoint {hook.name} has {arguments} arguments here, {hook.arguments} are needed"
    return ""


def _try_load(facts: Facts, ring_bytes: int, path: Path, wanted: Sequence[Hook]) -> Loaded | _Refused:
    lib.fs_log_start()
    opened = lib.bpf_object__open(str(path).encode())
    if opened == ffi.NULL:
        raise Rejection(f"{path.name} cannot be opened: {_last_words()}", "rebuild it: make build")
    for hook in HOOKS:
        program = lib.bpf_object__find_program_by_name(opened, hook.program.encode())
        lib.bpf_program__set_autoload(program, hook in wanted)
    try:
        _settings(opened, facts)
    except Rejection:
        lib.bpf_object__close(opened)
        raise
    ring = lib.bpf_object__find_map_by_name(opened, b"events")
    if result := lib.bpf_map__set_max_entries(ring, ring_bytes):
        lib.bpf_object__close(opened)
        raise Rejection(f"ring.size {ring_bytes} cannot be set: {os.strerror(-result)}", "another ring.size")
    result = lib.bpf_object__load(opened)
    if result == 0:
        return Loaded(opened, ring_bytes)
    words = ffi.string(lib.fs_log_text()).decode(errors="replace")
    lib.bpf_object__close(opened)
    if -result == errno.EPERM:
        raise Rejection(
            "the kernel does not permit bpf(): CAP_BPF and CAP_PERFMON are missing, or seccomp or lockdown forbid it",
            "run as root or with the core profile's capabilities and seccomp Unconfined; firesteel doctor says which",
        )
    if "map 'events'" in words:
        raise Rejection(
            f"the kernel refused a ring of {ring_bytes} bytes: {os.strerror(-result)}",
            "a smaller ring.size: it needs that much memory at once, and a multiple of the page size",
        )
    if failed := _FAILED_PROGRAM.search(words):
        return _Refused(failed[1], f"{os.strerror(-result)}; the verifier says: {_verdict(words)}")
    raise Rejection(f"loading failed: {os.strerror(-result)}: {_last_words()}", "firesteel doctor says more")


def _settings(opened: Any, facts: Facts) -> None:
    """Load-time settings that depend on the running kernel."""
    if facts.controller is not None:
        controller = lib.fs_enumerator(b"cgroup_subsys_id", f"{facts.controller}_cgrp_id".encode())
        if controller >= 0:
            _set(opened, "cgroup_controller", 0, controller)
    _set(opened, "pid_namespace", 0, facts.pid_namespace)
    reasons = [lib.fs_enumerator(b"skb_drop_reason", f"SKB_DROP_REASON_{name}".encode()) for name in LOSS_REASONS]
    bits = sum(1 << reason for reason in reasons if 0 <= reason < _REASON_BITS)
    for word in range(_REASON_BITS // 64):
        _set(opened, "loss_reasons", word, bits >> 64 * word & (1 << 64) - 1)


def _set(opened: Any, name: str, index: int, value: int) -> None:
    if number := lib.fs_set_setting(opened, name.encode(), index, value):
        raise Rejection(f"the programs have no setting {name} ({os.strerror(-number)})", "rebuild them: make build")


def _attach(loaded: Loaded, hook: Hook, facts: Facts) -> HookReport:
    program = lib.bpf_object__find_program_by_name(loaded.object, hook.program.encode())
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
            raise Rejection(f"{hook.name} {reason}", "firesteel doctor says more")
        return HookReport(hook.name, False, False, reason, hook.loses)
    loaded.links.append(link)
    if hook.attach is Attach.ITERATOR:
        made = [lib.bpf_iter_create(lib.bpf_link__fd(link)) for _ in range(_ITERATORS)]
        loaded.iterators += [fd for fd in made if fd >= 0]
        if not loaded.iterators:
            return HookReport(hook.name, False, False, f"cannot be read: {os.strerror(-made[0])}", hook.loses)
    return HookReport(hook.name, True, hook.required, "", hook.loses)


def _last_words() -> str:
    lines = [line for line in ffi.string(lib.fs_log_text()).decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "libbpf said nothing"


def _verdict(words: str) -> str:
    """The verifier's last sentence before its statistics."""
    lines = [line.strip() for line in words.splitlines()]
    end = next((i for i, line in enumerate(lines) if line.startswith("processed ")), len(lines))
    return lines[end - 1][:200] if end else ""
