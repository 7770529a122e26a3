# SPDX-License-Identifier: Apache-2.0
"""The doctor's checks of what the drivers stand on that are compiled for a kernel: bcc and the module.

Where core can load they are told as they are but ask for nothing: it needs none of this.
"""

import re

from collector.findings import FAIL, OK, WARN, Check, Finding
from collector.host import Host
from collector.schema import Config
from probes import bcc_source, module_file

_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_COMPILERS = ("/usr/bin", "/usr/local/bin")
_GCC_FOLDERS = tuple(
    f"/usr/lib/gcc/{machine}-{system}" for machine in ("x86_64", "aarch64") for system in ("linux-gnu", "redhat-linux")
)
_CLANG_FOLDERS = ("/usr/lib/clang", "/usr/lib64/clang")
"""What a compiler brings along lies there by its generation."""

_HEADERS = (
    "apt-get install linux-headers-$(uname -r), or dnf install kernel-devel-$(uname -r); in a container mount "
    "/lib/modules and /usr/src of the node"
)
_RECOMPILE = "scripts/recompile-module.sh"
NO_MODULES = {
    "talos": "Talos accepts no module that it was not built with",
    "bottlerocket": "Bottlerocket accepts modules only through its own kits",
    "cos": "Container-Optimized OS accepts signed modules only",
    "flatcar": "Flatcar has headers only in its developer container",
}
"""By ID of os-release(5): nodes on which a module cannot be had, or hardly."""


def needs(config: Config, *drivers: str) -> list[str]:
    """Those of them that the configuration allows."""
    return [driver for driver in drivers if driver in config.drivers]


def _state(host: Host, config: Config, wanted: list[str]) -> str:
    """How bad it is that `wanted` cannot be used."""
    if "core" in config.drivers and host.exists("/sys/kernel/btf/vmlinux"):
        return OK
    return FAIL if set(config.drivers) <= set(wanted) else WARN


def _built(host: Host) -> str:
    """The module that is there for this kernel already; empty if none is."""
    end = f"{host.release()}/{module_file.CONTRACT}/{module_file.NAME}.ko"
    places = (f"{root}/{end}" for root in (module_file.BUILT, module_file.IMAGE))
    return next((path for path in places if host.exists(path)), "")


def headers(host: Host, config: Config) -> list[Finding]:
    wanted = needs(config, "bcc", "kmod")
    findings = []
    if "kmod" in wanted and (built := _built(host)):
        findings = [Finding(OK, f"the module for this kernel is built: {built}")]
        wanted.remove("kmod")
    for place in bcc_source.FOLDERS if wanted else ():
        folder = place.format(release=host.release())
        if any(host.exists(f"{folder}/include/{file}") for file in ("generated/autoconf.h", "linux/kconfig.h")):
            return [*findings, Finding(OK, f"headers of this kernel are at {folder}")]
    if "bcc" in wanted and host.exists(str(bcc_source.ARCHIVE)):
        wanted.remove("bcc")
        findings += [Finding(OK, f"the kernel brings its headers along for bcc ({bcc_source.ARCHIVE})")]
    if not wanted:
        return findings
    sentence = f"no headers of Linux {host.release()}: {' and '.join(wanted)} cannot be compiled here"
    return [*findings, Finding(_state(host, config, wanted), sentence, _HEADERS)]


def bcc(host: Host, config: Config) -> list[Finding]:
    if not needs(config, "bcc"):
        return []
    if host.exists("/usr/lib/python3/dist-packages/bcc/__init__.py"):
        return [Finding(OK, "BCC is installed (python3-bpfcc)")]
    return [Finding(_state(host, config, ["bcc"]), "BCC is not installed", "apt-get install python3-bpfcc")]


def compiler(host: Host, config: Config) -> list[Finding]:
    """A module wants the compiler generation that built the kernel: gcc plugins and flags differ between them."""
    if not needs(config, "kmod") or _built(host):
        return []
    told = host.read("/proc/version") or ""
    built = re.search(r"\b(gcc|clang)\b[^,]*?(\d+)\.\d+\.\d+", told)
    if built is None:
        return [Finding(OK, "which compiler built the kernel is not told (/proc/version)")]
    name, major = built[1], built[2]
    found = [
        f"{place}/{program}"
        for place in _COMPILERS
        for program in (f"{name}-{major}", name)
        if host.exists(f"{place}/{program}") and (program != name or _is_of(host, name, major))
    ]
    if found:
        return [Finding(OK, f"the compiler that built the kernel is here: {found[0]}")]
    return [
        Finding(
            _state(host, config, ["kmod"]),
            f"the kernel was built by {name} {major}, which is not here",
            f"apt-get install {name}-{major}; {_RECOMPILE} tries every compiler that it finds",
        )
    ]


def _is_of(host: Host, name: str, major: str) -> bool:
    """Whether the compiler without a number in its name is of this generation: its own files say so, it is not run."""
    folders = _GCC_FOLDERS if name == "gcc" else _CLANG_FOLDERS
    return any(host.exists(f"{folder}/{major}") for folder in folders)


def modules(host: Host, config: Config) -> list[Finding]:
    if not needs(config, "kmod"):
        return []
    state = _state(host, config, ["kmod"])
    if not host.exists("/proc/modules"):
        return [
            Finding(state, "this kernel has no loadable modules", "a kernel with CONFIG_MODULES=y, or another driver")
        ]
    if host.read("/proc/sys/kernel/modules_disabled") == "1":
        return [
            Finding(
                state,
                "loading modules was switched off until the next boot",
                "boot without kernel.modules_disabled=1, and load the module before it is set",
            )
        ]
    findings = [Finding(OK, "modules can be loaded")]
    findings += _signatures(host, state)
    findings += _loaded(host, state)
    return findings


def _signatures(host: Host, state: str) -> list[Finding]:
    sign = f"{_RECOMPILE} --sign KEY CERT, with a certificate that the kernel trusts (mokutil --import CERT)"
    if host.read("/sys/module/module/parameters/sig_enforce") in {"Y", "1"}:
        return [Finding(state, "the kernel loads signed modules only (module.sig_enforce)", sign)]
    # The value follows four bytes of attributes: Documentation/filesystems/efivarfs.rst.
    told = host.read(_SECURE_BOOT)
    if told is not None and told.endswith("\x01"):
        return [Finding(state, "Secure Boot is on: unsigned modules are refused", sign)]
    return []


def _loaded(host: Host, state: str) -> list[Finding]:
    version = host.read("/sys/module/firesteel/version")
    if version is None:
        return []
    told = re.search(
        r'^#define FS_KMOD_VERSION "([^"]+)"', host.read_program("probes/kmod/interface.h") or "", re.MULTILINE
    )
    ours = told[1] if told else version
    if version != ours:
        remedy = "rmmod firesteel once no agent uses it; then this agent loads its own"
        return [Finding(state, f"a module of another version is loaded: {version}, this agent has {ours}", remedy)]
    return [Finding(OK, f"the module is loaded, version {version}")]


def kprobes(host: Host, config: Config) -> list[Finding]:
    wanted = needs(config, "bcc", "kmod")
    there = ("/sys/bus/event_source/devices/kprobe", "/sys/kernel/debug/kprobes")
    if not wanted or any(map(host.exists, there)) or _says(host, "CONFIG_KPROBES=y"):
        return []
    places = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
    if not any(host.exists(place) for place in places) or any(
        host.exists(f"{place}/kprobe_events") for place in places
    ):
        return []
    sentence = f"this kernel has no kprobes, on which {' and '.join(wanted)} stand"
    return [Finding(_state(host, config, wanted), sentence, "a kernel with CONFIG_KPROBES=y, or driver: [core, none]")]


def _says(host: Host, line: str) -> bool:
    return f"\n{line}\n" in f"\n{host.read(f'/boot/config-{host.release()}') or ''}\n"


def platform(host: Host, config: Config) -> list[Finding]:
    """Nodes whose kernel is not to be watched, or takes no module, whatever is installed."""
    if "gVisor" in (host.read("/proc/version") or ""):
        remedy = "run the agent on the node, outside of the sandbox; pods inside of one are not visible to it"
        return [Finding(FAIL, "this is gVisor's kernel: nothing of the node can be seen from inside", remedy)]
    found = re.search(r'^ID="?([\w.-]+)"?$', host.read("/etc/os-release") or "", re.MULTILINE)
    reason = NO_MODULES.get(found[1]) if found else None
    if reason is None or not needs(config, "kmod"):
        return [Finding(OK, f"nothing is known against any driver on {found[1] if found else 'this system'}")]
    return [Finding(_state(host, config, ["kmod"]), reason, "driver: core, which these nodes' kernels allow")]


MODULE_CHECKS = (
    Check("headers", headers),
    Check("bcc", bcc),
    Check("compiler", compiler),
    Check("modules", modules),
    Check("kprobes", kprobes),
    Check("platform", platform),
)
