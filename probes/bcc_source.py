# SPDX-License-Identifier: Apache-2.0
"""What BCC compiles: the node's kernel headers, found and put together, and our programs as one text over them.

Nothing here needs privileges or the running kernel, so programs for one node may be compiled on another.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import LOSS_REASONS, Attach, Hook

FOLDER = Path(__file__).parent / "ebpf"
CONTRACT = Path(__file__).parent / "include"
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}
FOLDERS = ("/lib/modules/{release}/build", "/usr/src/linux-headers-{release}", "/usr/src/kernels/{release}")
"""Where distributions put the headers of a kernel."""
ARCHIVE = Path("/sys/kernel/kheaders.tar.xz")
"""The kernel's own headers, since 5.2, with CONFIG_IKHEADERS (43d8ce9d65a5)."""

FEATURES = (
    ("HAVE_ITER_TYPE", "include/linux/uio.h", r"\bu8 iter_type\b"),
    ("HAVE_ITER_IOV_RENAMED", "include/linux/uio.h", r"\b__iov\b"),
    ("HAVE_ITER_UBUF", "include/linux/uio.h", r"\bITER_UBUF\b"),
    ("HAVE_SENDPAGE", "include/net/sock.h", r"\(\*sendpage\)"),
    ("HAVE_MPTCP", "include/linux/tcp.h", r"\bis_mptcp\b"),
    ("HAVE_CLOCK_CACHE", "include/linux/tcp.h", r"\btcp_clock_cache\b"),
)
"""What headers.h must know, by how it looks in the node's headers: distributions move it between versions."""

_MAP = re.compile(r"^struct \{\n((?:\t__\w+\(.*\);.*\n)+)\} (\w+) SEC\(\"\.maps\"\);", re.MULTILINE)
_FIELD = re.compile(r"__(uint|type)\((\w+), (.*)\);")
_PROTOTYPE = r"\b(?:TRACE|DEFINE|DECLARE)\w*\((?:\w+,\s*)?{},\s*TP_PROTO\(([^()]*(?:\([^()]*\)[^()]*)*)\)"
_SHARED = re.compile(r"^([\w ]+?) (\w+)((?:\[\w+\])?) SEC\(\"\.data\.\w+\"\);", re.MULTILINE)
_SETTING = re.compile(r"^const volatile ([\w ]+?) (\w+)((?:\[\w+\])?)(?: = (.*))?;", re.MULTILINE)
MEASURES = "fs_measures_of_"
"""Begins the name of a program that only returns what FS_MAP_SPEC made of a map."""

NUMBER = "fs_number_"
"""Begins the name of a program that only returns a constant of this kernel."""

LOSS_WORDS = 4
_DROP_REASONS = ("include/net/dropreason-core.h", "include/net/dropreason.h", "include/linux/skbuff.h")
_MPTCP = ("include/generated/autoconf.h", "#define CONFIG_MPTCP 1\n")
_CONTEXTS = {
    Attach.TRACEPOINT: "struct bpf_raw_tracepoint_args",
    Attach.KPROBE: "struct pt_regs",
    Attach.KRETPROBE: "struct pt_regs",
}


@dataclass(frozen=True, slots=True)
class Headers:
    """Folders of one kernel's headers, the generated ones first. Debian has them in two, most others in one."""

    folders: tuple[Path, ...]

    def text(self, path: str) -> str:
        """Of the first folder that has the file; empty if none has."""
        for folder in self.folders:
            if (folder / path).is_file():
                return (folder / path).read_text(errors="replace")
        return ""

    def version(self) -> int:
        """LINUX_VERSION_CODE. Raises Rejection."""
        found = re.search(r"LINUX_VERSION_CODE (\d+)", self.text("include/generated/uapi/linux/version.h"))
        if found is None:
            raise Rejection(
                f"{self.folders[0]} has no generated/uapi/linux/version.h: it is no complete set of kernel headers",
                "the header package of exactly this kernel (linux-headers-..., kernel-devel-...)",
            )
        return int(found[1])


def find(release: str, given: Path | None, scratch: Path) -> Headers:
    """The headers of `release`: at `given`, beside its modules, or in its own archive. Raises Rejection."""
    if given is not None:
        if not (given / "include").is_dir():
            raise Rejection(
                f"{given} has no kernel headers (no folder include)", "the folder that holds include/ and arch/"
            )
        return _with_source(given)
    tried = [Path(place.format(release=release)) for place in FOLDERS]
    for folder in tried:
        if (folder / "include/generated").is_dir():
            return _with_source(folder.resolve())
    if ARCHIVE.exists():
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(scratch, filter="data")
        return Headers((scratch,))
    raise Rejection(
        f"there are no kernel headers of {release}: neither {', '.join(map(str, tried))} nor {ARCHIVE}",
        f"apt-get install linux-headers-{release} (RHEL: kernel-devel-{release}), or a kernel with CONFIG_IKHEADERS",
    )


def _with_source(folder: Path) -> Headers:
    """Debian's generated headers name the folder with the others in their Makefile."""
    makefile = folder / "Makefile"
    text = makefile.read_text(errors="replace") if makefile.is_file() else ""
    named = re.search(r"^include (/\S+)/Makefile$", text, re.MULTILINE)
    beside = folder.with_name(re.sub(r"-[^-]+$", "-common", folder.name))
    for source in ([Path(named[1])] if named else []) + [folder / "source", beside]:
        if source != folder and (source / "include/linux").is_dir():
            return Headers((folder, source.resolve()))
    return Headers((folder,))


def merge(headers: Headers, machine: str, place: Path) -> None:
    """One tree of links, as BCC wants it."""
    for inside in ("include", f"arch/{ARCHITECTURES[machine]}/include"):
        (place / inside).mkdir(parents=True)
        for folder in headers.folders:
            for entry in (folder / inside).iterdir() if (folder / inside).is_dir() else ():
                link = place / inside / entry.name
                if not link.exists():
                    link.symlink_to(entry)


def features(headers: Headers) -> list[str]:
    """Names of FEATURES that these headers have."""
    found = [name for name, path, pattern in FEATURES if re.search(pattern, headers.text(path))]
    if _MPTCP[1] not in headers.text(_MPTCP[0]) and "HAVE_MPTCP" in found:
        found.remove("HAVE_MPTCP")
    return found


def missing_in_bcc(headers: Headers, library: bytes) -> Iterator[str]:
    """Stand-ins for what the kernel's headers take from uapi/linux/bpf.h and BCC's own copy of that is too old for.

    They are only named in inline functions that nothing here calls, so their values do not matter.
    """
    text = headers.text("include/uapi/linux/bpf.h")
    for name in re.findall(r"^struct (bpf_\w+) \{", text, re.MULTILINE):
        if f"struct {name} {{".encode() not in library:
            yield f"struct {name} {{ unsigned long long opaque[8]; }};"
    words = sorted(set(re.findall(r"\b(BPF_[A-Z0-9_]+)\b", text)))
    for number, name in enumerate(word for word in words if word.encode() not in library):
        yield f"#ifndef {name}\n#define {name} {0x7E000000 + number}\n#endif"


@dataclass(frozen=True, slots=True)
class Sources:
    """Our sources with maps and settings by number: `maps` are their names in the order of the numbers."""

    files: dict[str, str]
    maps: tuple[str, ...]


def sources(settings: Mapping[str, str]) -> Sources:
    """Puts a number in the place of each map, and says what has to be made for it (FS_MAP_SPEC).

    `settings` are expressions of C by the setting's name: what is not wanted here is then not even compiled. A setting
    that is not among them becomes a map.
    """
    names: list[str] = []

    def number_of(name: str) -> int:
        if name not in names:
            names.append(name)
        return names.index(name)

    def map_of(found: re.Match[str]) -> str:
        fields = {name: value for _, name, value in _FIELD.findall(found[1])}
        key = f"sizeof({fields['key']})" if "key" in fields else fields["key_size"]
        value = f"sizeof({fields['value']})" if "value" in fields else fields.get("value_size", "0")
        name = found[2]
        spec = f"FS_MAP_SPEC({fields['type']}, {fields.get('max_entries', '0')}, {key}, {value})"
        return f"#define FS_SPEC_{name} {spec}\n#define {name} FS_MAP({number_of(name)})"

    def ring_of(found: re.Match[str]) -> str:
        fields = {name: value for _, name, value in _FIELD.findall(found[1])}
        if "key" in fields or "key_size" in fields:
            return map_of(found)
        return f"#define FS_SPEC_{found[2]} FS_MAP_SPEC({fields['type']}, 0, 0, 0)\n#define {found[2]} FS_MAP({number_of(found[2])})"

    def value_of(found: re.Match[str]) -> str:
        kind, name, many = found[1], found[2], found[3]
        number = number_of(name)
        return (
            f"typedef {kind} fs_type_{name}{many};\n"
            f"#define FS_SPEC_{name} FS_MAP_SPEC(BPF_MAP_TYPE_ARRAY, 1, 4, sizeof(fs_type_{name}))\n"
            f"#define {name} FS_VALUE(fs_type_{name}, {number})"
        )

    def setting_of(found: re.Match[str]) -> str:
        name = found[2]
        return f"#define {name} ({settings[name]})" if name in settings else value_of(found)

    files = {}
    for path in sorted([*FOLDER.glob("*.h"), FOLDER / "firesteel.bpf.c"]):
        content = _MAP.sub(ring_of, path.read_text())
        files[path.name] = _SETTING.sub(setting_of, _SHARED.sub(value_of, content))
    return Sources(files, tuple(names))


def text(
    headers: Headers,
    hooks: Sequence[Hook],
    machine: str,
    maps: Sequence[str],
    library: bytes,
    defines: Sequence[str] = (),
) -> str:
    """The main program: features, stand-ins, our sources, a function for each hook, and one for each map's measures."""
    features_here = ["FS_HEADERS", "FS_UNTYPED", *features(headers), f"__TARGET_ARCH_{ARCHITECTURES[machine]}"]
    lines = [f"#define {name}" for name in (*features_here, *defines)]
    lines += missing_in_bcc(headers, library)
    lines.append('#include "firesteel.bpf.c"')
    for program, context in programs(hooks).items():
        lines.append(f"int {program}({context} *ctx) {{ return fs_program_{program}((void *)ctx); }}")
    lines += (f"__u64 {NUMBER}{name}(void *ctx) {{ return {value}; }}" for name, value in _numbers(headers))
    lines += (
        f"#ifdef FS_SPEC_{name}\n__u64 {MEASURES}{name}(void *ctx) {{ return FS_SPEC_{name}; }}\n#endif"
        for name in maps
    )
    return "\n".join(lines) + "\n"


def settings_of(headers: Headers, facts: Facts, *, perf_rings: bool) -> dict[str, str]:
    """What the programs are compiled for, besides the kernel."""
    controlled = re.search(r"^#define CONFIG_MEMCG 1$", headers.text("include/generated/autoconf.h"), re.MULTILINE)
    return {
        "has_ring": "0" if perf_rings else "1",
        "pid_namespace": f"{facts.pid_namespace}u",
        "cgroup_controller": "memory_cgrp_id" if facts.controller is not None and controlled else "-1",
    }


def numbers_in(main: str) -> list[str]:
    """Names of the programs that return constants, in a text of `text`."""
    return re.findall(rf"\b({NUMBER}\w+)\(", main)


def lay_out(headers: Headers, sources: Sources, machine: str, scratch: Path) -> dict[str, object]:
    """Writes the sources, and the tree of headers, below `scratch`: what bcc_compile.py must know of them."""
    merge(headers, machine, scratch / "headers")
    for folder, files in (
        ("ebpf", sources.files),
        ("include", {path.name: path.read_text() for path in CONTRACT.glob("*.h")}),
    ):
        (scratch / "source" / folder).mkdir(parents=True)
        for name, content in files.items():
            (scratch / "source" / folder / name).write_text(content)
    # Kernels since 6.19 are built with the extensions; what warns in the kernel's headers is not ours to repair.
    flags = [f"-I{scratch}/source/ebpf", "-fms-extensions", "-Wno-everything"]
    return {"headers": str(scratch / "headers"), "flags": flags}


def _numbers(headers: Headers) -> Iterator[tuple[str, str]]:
    """What the loader has to know of this kernel, as constants of C: name and expression."""
    here = set(re.findall(r"\bSKB_DROP_REASON_\w+", "".join(headers.text(path) for path in _DROP_REASONS)))
    reasons = [f"SKB_DROP_REASON_{name}" for name in LOSS_REASONS if f"SKB_DROP_REASON_{name}" in here]
    for word in range(LOSS_WORDS):
        bits = (f"((__u64)({reason} >> 6 == {word}) << ({reason} & 63))" for reason in reasons)
        yield f"loss_{word}", " | ".join(("0ull", *bits))


def tracepoints(headers: Headers, names: Collection[str]) -> dict[str, int]:
    """How many arguments each of these tracepoints has, if it is there."""
    found: dict[str, int] = {}
    for folder in headers.folders:
        for path in sorted((folder / "include/trace/events").glob("*.h")):
            content = path.read_text(errors="replace")
            for name in names:
                if name in content and (prototype := re.search(_PROTOTYPE.format(name), content)):
                    found[name] = prototype[1].count(",") + 1
    return found


def programs(hooks: Collection[Hook]) -> dict[str, str]:
    """Programs by name, with the type of their context; one may serve several hooks."""
    return {hook.program: _CONTEXTS[hook.attach] for hook in hooks if hook.attach in _CONTEXTS}


def fingerprint(release: str, program_text: str, sources: Sources, headers: Headers) -> str:
    """Names what would be compiled: the sources with their settings, the kernel, and its configuration."""
    digest = hashlib.sha256()
    for content in [*sources.files.values(), *(path.read_text() for path in sorted(CONTRACT.glob("*.h")))]:
        digest.update(content.encode() + b"\0")
    for part in (release, program_text, headers.text("include/generated/autoconf.h"),
                 headers.text("include/generated/compile.h")):  # fmt: skip
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def bcc_library() -> bytes:
    """BCC's library, in which its own headers are; empty if it is not where it should be."""
    for folder in (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")):
        for path in sorted(folder.glob("*/libbcc.so.0")) + sorted(folder.glob("libbcc.so.0")):
            if os.access(path, os.R_OK):
                return path.read_bytes()
    return b""
