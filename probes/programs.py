# SPDX-License-Identifier: Apache-2.0
"""The compiled BPF programs: which object is for this machine, opening it, its settings, loading it into the kernel."""

import errno
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from probes._libbpf import ffi, lib
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import HOOKS, LOSS_REASONS, Hook

FOLDER = Path(__file__).parent / "ebpf"
MACHINES = {"x86_64": "x86", "aarch64": "arm64"}
"""For which machines there are objects: the kernel's name of it, and ours."""

_FAILED_PROGRAM = re.compile(r"prog '(\w+)': (?:failed to load|BPF program load failed)")
_REASON_BITS = 256
_RING_MAP = 27  # BPF_MAP_TYPE_RINGBUF
_STAGING = ("perf_events", "staging", "stages")


class Flavour(Enum):
    """The two ways in which the programs are compiled: see ebpf/access.h."""

    TYPED = "typed"
    UNTYPED = "untyped"


@dataclass(frozen=True, slots=True)
class Refused:
    """The kernel did not take `program`: `number` is the errno."""

    program: str
    reason: str
    number: int


def path_of(flavour: Flavour, machine: str) -> Path:
    """Raises Rejection if there are no programs for this machine."""
    ours = MACHINES.get(machine)
    if ours is None:
        raise Rejection(f"there are no BPF programs for {machine}", "driver: kmod or none on this machine")
    path = FOLDER / f"firesteel-{flavour.value}-{ours}.bpf.o"
    if not path.exists():
        raise Rejection(f"{path.name} is missing", "build it: make build")
    return path


def use_types(facts: Facts) -> None:
    """Takes the kernel's types from `facts.btf`, if a file was given. Raises Rejection."""
    path = str(facts.btf).encode() if facts.btf is not None else ffi.NULL
    if result := lib.fs_use_types(path):
        reason = "no such file" if result == -errno.ENOENT else os.strerror(-result)
        raise Rejection(
            f"the kernel's types cannot be read from {facts.btf}: {reason}",
            "a BTF file of exactly this kernel: pahole -J on its vmlinux, or BTFHub's for the distribution's package",
        )


def has_ring() -> bool:
    """Whether the kernel has BPF ring buffers (5.8); below, there is a perf ring for each processor."""
    return bool(lib.fs_has_map_type(_RING_MAP))


def load(
    flavour: Flavour, facts: Facts, ring_bytes: int, wanted: Sequence[Hook], *, ring: bool = True
) -> Any | Refused:
    """An object of libbpf with the programs of `wanted` loaded, or which one was refused. Raises Rejection."""
    path = path_of(flavour, facts.machine)
    lib.fs_log_start()
    opened = lib.fs_open_programs(str(path).encode())
    if opened == ffi.NULL:
        raise Rejection(f"{path.name} cannot be opened: {last_words()}", "rebuild it: make build")
    try:
        _choose_programs(opened, {hook.program for hook in wanted})
        _settings(opened, facts)
        if flavour is Flavour.UNTYPED:
            _choose_ring(opened, ring=ring)
        if ring:
            _size_ring(opened, ring_bytes)
        return _load(opened, ring_bytes)
    except Rejection:
        lib.bpf_object__close(opened)
        raise


def _load(opened: Any, ring_bytes: int) -> Any | Refused:
    result = lib.bpf_object__load(opened)
    if result == 0:
        return opened
    words = ffi.string(lib.fs_log_text()).decode(errors="replace")
    failed = _FAILED_PROGRAM.search(words)
    if -result == errno.EPERM and not failed:
        raise Rejection(
            "the kernel does not permit bpf(): CAP_BPF and CAP_PERFMON are missing, or seccomp or lockdown forbid it",
            "run as root or with the core profile's capabilities and seccomp Unconfined; firesteel doctor says which",
        )
    if "map 'events'" in words:
        raise Rejection(
            f"the kernel refused a ring of {ring_bytes} bytes: {os.strerror(-result)}",
            "a smaller ring.size: it needs that much memory at once, and a multiple of the page size",
        )
    if failed:
        lib.bpf_object__close(opened)
        said = verdict(words)
        reason = os.strerror(-result) + (f"; the verifier says: {said}" if said else "")
        return Refused(failed[1], reason, -result)
    raise Rejection(f"loading failed: {os.strerror(-result)}: {last_words()}", "firesteel doctor says more")


def _choose_programs(opened: Any, wanted: Collection[str]) -> None:
    for hook in HOOKS:
        program = lib.bpf_object__find_program_by_name(opened, hook.program.encode())
        if program != ffi.NULL:
            lib.bpf_program__set_autoload(program, hook.program in wanted)
        elif hook.program in wanted:
            raise Rejection(f"the programs have no {hook.program}", "rebuild them: make build")


def _choose_ring(opened: Any, *, ring: bool) -> None:
    _set(opened, "has_ring", 0, ring)
    for name in _STAGING if ring else ("events",):
        lib.bpf_map__set_autocreate(lib.bpf_object__find_map_by_name(opened, name.encode()), False)


def _size_ring(opened: Any, ring_bytes: int) -> None:
    ring = lib.bpf_object__find_map_by_name(opened, b"events")
    if result := lib.bpf_map__set_max_entries(ring, ring_bytes):
        raise Rejection(f"ring.size {ring_bytes} cannot be set: {os.strerror(-result)}", "another ring.size")


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


def last_words() -> str:
    """The last line that libbpf said."""
    lines = [line for line in ffi.string(lib.fs_log_text()).decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "libbpf said nothing"


def verdict(words: str) -> str:
    """The verifier's last sentence before its statistics; empty if it was not asked."""
    log = words.rpartition("-- BEGIN PROG LOAD LOG --\n")[2].partition("-- END PROG LOAD LOG --")
    lines = [line.strip() for line in log[0].splitlines() if line.strip()] if log[1] else []
    end = next((i for i, line in enumerate(lines) if line.startswith("processed ")), len(lines))
    return lines[end - 1][:200] if end else ""
