# SPDX-License-Identifier: Apache-2.0
"""The programs of the bcc driver as instructions: kept from before, or compiled now in a process of its own.

Nothing here needs privileges or the running kernel, so the programs of one node may be compiled on another.
"""

import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from probes import bcc_cache, bcc_source
from probes.bcc_compile import NO_BCC
from probes.bcc_source import MEASURES, NUMBER
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import Attach, Hook, HookSet, hooks_of

HEADERS_VARIABLE = "FIRESTEEL_KERNEL_HEADERS"
"""A folder with the kernel's headers, where they are not where distributions have them."""
RING_VARIABLE = "FIRESTEEL_BCC_RING"
"""`perf`: perf rings also where the kernel has a BPF ring; to try them."""

PYTHON = "/usr/bin/python3"
"""Debian's own, for which python3-bpfcc is made."""

LD_IMM64 = 0x18
_BPF_RING = (5, 8)
_COMPILE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Compiled:
    """Instructions by program, measures by map, constants of the kernel by name.

    `lacks` says of each tracepoint that is not in this kernel's headers as it is needed, why.
    """

    programs: Mapping[str, bytes]
    measures: Mapping[str, int]
    numbers: Mapping[str, int]
    maps: tuple[str, ...]
    version: int
    built: str
    lacks: Mapping[Hook, str]


def uses_perf_rings(facts: Facts) -> bool:
    """Whether there is a perf ring for each processor instead of one BPF ring."""
    return facts.version < _BPF_RING or os.environ.get(RING_VARIABLE) == "perf"


def compiled(facts: Facts, given: Path | None = None, defines: Sequence[str] = ()) -> Compiled:
    """The programs for the kernel of `facts`, with its headers at `given` or where distributions have them.

    `defines` are for tests: FS_SHORT makes them as for a kernel before 5.3. Raises Rejection.
    """
    given = given or (Path(os.environ[HEADERS_VARIABLE]) if os.environ.get(HEADERS_VARIABLE) else None)
    with tempfile.TemporaryDirectory(prefix="firesteel-bcc-") as made:
        scratch = Path(made)
        headers = bcc_source.find(facts.release, given, scratch / "archive")
        version = headers.version()
        if (version >> 16, version >> 8 & 0xFF) != facts.version:
            raise Rejection(
                f"{headers.folders[0]} has the headers of Linux {version >> 16}.{version >> 8 & 0xFF}, "
                f"and this is {facts.release}",
                f"the headers of exactly this kernel, or {HEADERS_VARIABLE}=FOLDER",
            )
        wanted, lacks = _fitting(headers)
        settings = bcc_source.settings_of(headers, facts, perf_rings=uses_perf_rings(facts))
        sources = bcc_source.sources(settings)
        text = bcc_source.text(headers, wanted, facts.machine, sources.maps, bcc_source.bcc_library(), defines)
        name = bcc_source.fingerprint(facts.release, text, sources, headers)
        built = "kept from before, "
        answer = bcc_cache.read(facts.release, name)
        if answer is None:
            answer = _compile(facts, headers, sources, text, wanted, scratch)
            kept = bcc_cache.write(facts.release, name, answer)
            built = f"{kept}, "
        built += f"compiled in {answer['seconds']:.1f} s with {answer['mebibytes']} MiB by BCC {answer['bcc']}"
        return _decoded(answer, sources.maps, version, built, lacks)


def _fitting(headers: bcc_source.Headers) -> tuple[list[Hook], dict[Hook, str]]:
    """Hooks to compile a program for, and what is wrong with the others. Functions are not looked for here."""
    fitting: list[Hook] = []
    lacks: dict[Hook, str] = {}
    rows = hooks_of(HookSet.KPROBES)
    known = bcc_source.tracepoints(headers, {hook.name for hook in rows if hook.attach is Attach.TRACEPOINT})
    for hook in rows:
        if hook.attach is Attach.TRACEPOINT:
            arguments = known.get(hook.name, -1)
            if arguments < 0:
                lacks[hook] = f"this kernel has no tracepoint {hook.name}"
            elif arguments < hook.arguments:
                lacks[hook] = f"tracepoint {hook.name} has {arguments} arguments here, {hook.arguments} are needed"
        elif hook.attach not in {Attach.KPROBE, Attach.KRETPROBE}:
            lacks[hook] = f"{hook.attach.value} needs BTF"
        if hook not in lacks:
            fitting.append(hook)
    return fitting, lacks


def _compile(
    facts: Facts,
    headers: bcc_source.Headers,
    sources: bcc_source.Sources,
    text: str,
    wanted: Sequence[Hook],
    scratch: Path,
) -> dict[str, object]:
    print(f"firesteel: compiling the programs for {facts.release} with BCC, some seconds", file=sys.stderr, flush=True)
    request = bcc_source.lay_out(headers, sources, facts.machine, scratch)
    request |= {
        "text": text,
        "programs": list(bcc_source.programs(wanted)),
        "optional": [MEASURES + name for name in sources.maps] + bcc_source.numbers_in(text),
        "parent": os.getpid(),
    }
    answer = scratch / "answer"
    command = [PYTHON, "-I", str(Path(bcc_source.__file__).with_name("bcc_compile.py")), str(answer)]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False
        )
    except FileNotFoundError:
        raise Rejection(f"there is no {PYTHON}", "apt-get install python3 python3-bpfcc") from None
    except subprocess.TimeoutExpired:
        raise Rejection(
            f"BCC did not end within {_COMPILE_SECONDS:g} s", "another driver; firesteel doctor says more"
        ) from None
    if done.returncode == NO_BCC:
        raise Rejection(
            f"{PYTHON} has no BCC: {_last(done.stderr)}",
            "apt-get install python3-bpfcc (the package bcc of PyPI is another project)",
        )
    if done.returncode:
        raise Rejection(
            f"BCC cannot compile against {headers.folders[0]}: {_first_error(done.stderr)}",
            "a newer python3-bpfcc (its compiler must know this kernel's headers), or the headers of exactly this kernel",
        )
    made: dict[str, object] = json.loads(answer.read_text())
    return made


def _decoded(
    answer: Mapping[str, object], maps: tuple[str, ...], version: int, built: str, lacks: Mapping[Hook, str]
) -> Compiled:
    listed = answer["programs"]
    assert isinstance(listed, dict)
    code = {name: base64.b64decode(text) for name, text in listed.items()}
    constants = {name: _constant(text) for name, text in code.items() if name.startswith((MEASURES, NUMBER))}
    return Compiled(
        programs={name: text for name, text in code.items() if name not in constants},
        measures={name.removeprefix(MEASURES): value for name, value in constants.items() if name.startswith(MEASURES)},
        numbers={name.removeprefix(NUMBER): value for name, value in constants.items() if name.startswith(NUMBER)},
        maps=maps,
        version=version,
        built=built,
        lacks=lacks,
    )


def _constant(code: bytes) -> int:
    """What a program returns that is only a return of a constant: mov r0, or ld_imm64 r0."""
    opcode, _, _, low = struct.unpack_from("=BBhi", code)
    if opcode != LD_IMM64:
        return int(low) & (1 << 64) - 1
    high = struct.unpack_from("=i", code, 12)[0]
    return (int(high) & 0xFFFFFFFF) << 32 | int(low) & 0xFFFFFFFF


def _first_error(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if "error:" in line), _last(text))[:300]


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it said nothing"
