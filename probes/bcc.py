# SPDX-License-Identifier: Apache-2.0
"""The bcc driver: the programs of the core driver, compiled here against the node's own kernel headers.

For kernels without BTF. BCC is only the compiler: it runs in a process of its own (bcc_compile.py), what it made is kept on
disk by release and sources, and is loaded with plain system calls. Nothing of BCC is left when capture starts.
"""

import errno
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from probes import bcc_programs, bcc_source, bpf_calls, perf_rings
from probes.attachment import LINK, PERF_RING, HookReport
from probes.bcc_programs import LD_IMM64, Compiled, uses_perf_rings
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import Attach, Hook, HookSet, hooks_of

_FLOOR = (4, 17)
_MAPPED_ARRAYS = (5, 5)
_MARK = 0x4653
_SHARED = ("control", "modes", "counters")
_PAGES = {"control": 12288, "modes": 524288, "counters": 131072}
_OTHERWISE = "another driver; firesteel doctor says more"
_DEGRADED = (
    HookReport("mode slots", False, False, "no arrays that can be mapped before 5.5", "less capture for what needs less"),
    HookReport("control page", False, False, "no arrays that can be mapped before 5.5",
               "ports and sizes set after the start; after a crash of the engine, connections until their next use"),
    HookReport("counters", False, False, "no arrays that can be mapped before 5.5",
               "losses by type of event: only their sum is known"),
)  # fmt: skip


@dataclass(slots=True)
class Loaded:
    """Programs in place, with the descriptors that keep them there."""

    ring_bytes: int
    maps: dict[str, int]
    built: str
    """How the programs came about: compiled now, in what time and with how much memory, or kept from before."""
    shared: dict[str, int] = field(default_factory=dict)
    rings: list[int] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    hooks: list[HookReport] = field(default_factory=list)

    @property
    def hook_set(self) -> str:
        return HookSet.KPROBES.value

    @property
    def tells_peers(self) -> bool:
        return True

    def one(self) -> dict[str, int]:
        ring = {} if self.rings else {"ring": self.maps["events"]}
        return self.shared | ring

    def many(self) -> dict[str, Sequence[int]]:
        # A perf ring is in its map as long as the map's descriptor is open (perf_event_fd_array_release).
        kept = [self.maps["perf_events"]] if self.rings else []
        return {LINK: self.links + kept, PERF_RING: self.rings}

    def close(self) -> None:
        for descriptor in {*self.links, *self.rings, *self.maps.values(), *self.shared.values()}:
            os.close(descriptor)
        self.links.clear()
        self.rings.clear()
        self.maps.clear()
        self.shared.clear()


def candidates(facts: Facts, ring_bytes: int) -> Iterator[Callable[[], Loaded]]:
    """One: there is one way."""
    yield partial(load, facts, ring_bytes)


def load(facts: Facts, ring_bytes: int) -> Loaded:
    """Raises Rejection."""
    if facts.version < _FLOOR:
        raise Rejection(f"Linux {facts.release} is older than 4.17", "driver: kmod")
    if facts.machine not in bcc_source.ARCHITECTURES:
        raise Rejection(f"there are no BPF programs for {facts.machine}", "driver: kmod or none on this machine")
    _lift_memory_limit()
    compiled = bcc_programs.compiled(facts)
    print(f"firesteel: programs for {facts.release}: {compiled.built}", file=sys.stderr, flush=True)
    wanted, reports = _fitting(compiled, facts)
    loaded = Loaded(ring_bytes, {}, compiled.built)
    try:
        _make_maps(loaded, compiled, facts, ring_bytes)
        _attach_all(loaded, compiled, wanted, reports)
    except Rejection:
        loaded.close()
        raise
    except OSError as error:
        loaded.close()
        if error.errno in {errno.EPERM, errno.EACCES}:
            raise Rejection(
                "the kernel does not permit bpf() or perf_event_open(): CAP_SYS_ADMIN is missing, or seccomp or lockdown "
                "forbid it",
                "run as root or with the bcc profile's capabilities and seccomp Unconfined; firesteel doctor says which",
            ) from None
        raise Rejection(f"loading failed: {error.strerror}", _OTHERWISE) from None
    if facts.version < _MAPPED_ARRAYS:
        loaded.hooks += _DEGRADED
    return loaded


def _lift_memory_limit() -> None:
    """Maps and perf rings count as locked memory before 5.11."""
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        return  # the limit that there is may do; if not, creating the maps says EPERM


# --- the hooks that this kernel has ------------------------------------------------------------------------------------


def _fitting(compiled: Compiled, facts: Facts) -> tuple[list[Hook], list[HookReport]]:
    """The column's hooks that this kernel has, and a report of each optional one that it lacks. Raises Rejection."""
    fitting: list[Hook] = []
    reports: list[HookReport] = []
    rows = [hook for hook in hooks_of(HookSet.KPROBES) if hook.is_needed(facts.version)]
    symbols = _functions({hook.name for hook in rows})
    for i, hook in enumerate(rows):
        if any(hook.name == other.name and hook.attach is other.attach for other in fitting):
            continue
        lacks = compiled.lacks.get(hook, "")
        if hook.attach in {Attach.KPROBE, Attach.KRETPROBE} and hook.name not in symbols:
            lacks = f"this kernel has no function {hook.name}"
        if not lacks:
            fitting.append(hook)
        elif hook.required:
            raise Rejection(f"{lacks} ({hook.purpose})", _OTHERWISE)
        elif not any(hook.name == other.name for other in rows[i + 1 :]):
            reports.append(HookReport(hook.name, False, False, lacks, hook.loses))
    return fitting, reports


def _functions(names: set[str], path: Path = Path("/proc/kallsyms")) -> frozenset[str]:
    """Which of these functions the kernel has."""
    with path.open() as symbols:
        return frozenset(names.intersection(line.split(maxsplit=3)[2].rstrip() for line in symbols))


# --- loading -----------------------------------------------------------------------------------------------------------


def _make_maps(loaded: Loaded, compiled: Compiled, facts: Facts, ring_bytes: int) -> None:
    used = {number for code in compiled.programs.values() for number in _map_numbers(code)}
    mapped = facts.version >= _MAPPED_ARRAYS
    for number, name in enumerate(compiled.maps):
        if number not in used and name not in _SHARED:
            continue
        measure = compiled.measures[name]
        kind, entries, key, value = measure >> 58, measure >> 30 & 0xFFFFFFF, measure >> 20 & 0x3FF, measure & 0xFFFFF
        flags = bpf_calls.MMAPABLE if mapped and name in _SHARED else 0
        if kind == bpf_calls.RINGBUF:
            entries = ring_bytes
        try:
            loaded.maps[name] = bpf_calls.create_map(kind, key, value, entries, f"fs_{name}", flags)
        except OSError as error:
            if kind == bpf_calls.RINGBUF:
                raise Rejection(
                    f"the kernel refused a ring of {ring_bytes} bytes: {error.strerror}",
                    "a smaller ring.size: it needs that much memory at once, and a multiple of the page size",
                ) from None
            raise
    _settings(loaded, compiled)
    if uses_perf_rings(facts):
        _make_rings(loaded, ring_bytes)
    loaded.shared = {name: os.dup(loaded.maps[name]) if mapped else _plain_pages(name) for name in _SHARED}
    if not mapped:
        bpf_calls.update(loaded.maps["control"], bytes(4), _fixed_control())


def _make_rings(loaded: Loaded, ring_bytes: int) -> None:
    processors = perf_rings.online()
    if len(processors) > perf_rings.MOST_PROCESSORS:
        raise Rejection(
            f"{len(processors)} processors are more than perf rings can be handed over for", "a kernel from 5.8 on"
        )
    loaded.ring_bytes = perf_rings.share_of(ring_bytes, len(processors))
    loaded.rings = perf_rings.open_rings(processors)
    for processor, ring in zip(processors, loaded.rings, strict=True):
        bpf_calls.update(loaded.maps["perf_events"], struct.pack("=I", processor), struct.pack("=i", ring))


def _settings(loaded: Loaded, compiled: Compiled) -> None:
    if "loss_reasons" in loaded.maps:
        loss = [compiled.numbers.get(f"loss_{word}", 0) for word in range(bcc_source.LOSS_WORDS)]
        bpf_calls.update(loaded.maps["loss_reasons"], bytes(4), struct.pack(f"={bcc_source.LOSS_WORDS}Q", *loss))


def _plain_pages(name: str) -> int:
    """In the place of an array that cannot be mapped: what is written there reaches nobody."""
    pages = os.memfd_create(f"firesteel-{name}", os.MFD_CLOEXEC)
    os.ftruncate(pages, _PAGES[name])
    return pages


def _fixed_control() -> bytes:
    """The control page as the programs will see it for good: struct fs_control of include/control.h."""
    stream, datagram, whole = 512, 512, 4096
    head = struct.pack("=IIIIII", 0x4C545346, 1, 1, stream, datagram, whole)
    own = struct.pack("=8I", os.getppid(), *[0] * 7)
    return (head + own).ljust(8248, b"\0")


def _map_numbers(code: bytes) -> Iterator[int]:
    for at in range(0, len(code), 8):
        opcode, registers, _, immediate = struct.unpack_from("=BBhi", code, at)
        if opcode == LD_IMM64 and registers >> 4 in {1, 2} and immediate >> 16 == _MARK:
            yield immediate & 0xFFFF


def _with_descriptors(code: bytes, maps: Mapping[int, int]) -> bytes:
    """The program with descriptors in the place of the maps' numbers."""
    patched = bytearray(code)
    for at in range(0, len(code), 8):
        opcode, registers, _, immediate = struct.unpack_from("=BBhi", code, at)
        if opcode == LD_IMM64 and registers >> 4 in {1, 2} and immediate >> 16 == _MARK:
            struct.pack_into("=i", patched, at + 4, maps[immediate & 0xFFFF])
    return bytes(patched)


def _attach_all(loaded: Loaded, compiled: Compiled, wanted: Sequence[Hook], reports: Sequence[HookReport]) -> None:
    numbers = {number: loaded.maps[name] for number, name in enumerate(compiled.maps) if name in loaded.maps}
    programs: dict[str, int | bpf_calls.Refused] = {}
    found = list(reports)
    try:
        for hook in wanted:
            if hook.program not in programs:
                programs[hook.program] = _load_program(hook, compiled, numbers)
            found.append(_attach(loaded, hook, programs[hook.program]))
    finally:
        for program in programs.values():
            if isinstance(program, int):
                os.close(program)  # the links hold it
    order = [hook.name for hook in hooks_of(HookSet.KPROBES)]
    loaded.hooks = sorted(found, key=lambda report: order.index(report.name))


def _load_program(hook: Hook, compiled: Compiled, numbers: Mapping[int, int]) -> "int | bpf_calls.Refused":
    kind = bpf_calls.RAW_TRACEPOINT if hook.attach is Attach.TRACEPOINT else bpf_calls.KPROBE
    code = _with_descriptors(compiled.programs[hook.program], numbers)
    try:
        return bpf_calls.load_program(kind, code, hook.program, compiled.version)
    except bpf_calls.Refused as refused:
        if refused.errno == errno.EPERM and not refused.log:
            raise
        return refused


def _attach(loaded: Loaded, hook: Hook, program: "int | bpf_calls.Refused") -> HookReport:
    if isinstance(program, bpf_calls.Refused):
        reason = f"refused: {program.strerror}; the verifier says: {_verdict(program.log)}"
    else:
        try:
            loaded.links.append(_link(hook, program))
            return HookReport(hook.name, True, hook.required, "", hook.loses)
        except OSError as error:
            if error.errno in {errno.EPERM, errno.EACCES}:
                raise
            reason = f"cannot attach: {error.strerror}"
    if hook.required:
        raise Rejection(f"{hook.name} {reason}", _OTHERWISE)
    return HookReport(hook.name, False, False, reason, hook.loses)


def _link(hook: Hook, program: int) -> int:
    if hook.attach is Attach.TRACEPOINT:
        return bpf_calls.open_raw_tracepoint(hook.name, program)
    return bpf_calls.open_kprobe(hook.name, program, at_return=hook.attach is Attach.KRETPROBE)


def _verdict(log: str) -> str:
    """The verifier's last sentence before its statistics."""
    lines = [line.strip() for line in log.strip("\0\n").splitlines() if line.strip()]
    end = next((i for i, line in enumerate(lines) if line.startswith("processed ")), len(lines))
    return lines[end - 1][:200] if end else "nothing"
