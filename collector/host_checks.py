# SPDX-License-Identifier: Apache-2.0
"""The checks of `firesteel doctor` that look at this machine: one function each, and the table of them."""

import errno
import os
import re

from collector import capabilities
from collector.cluster_checks import CLUSTER_CHECKS
from collector.findings import FAIL, OK, WARN, Check, Finding
from collector.host import Host
from collector.kinds import size_text
from collector.module_checks import MODULE_CHECKS
from collector.schema import Config

OLDEST = {"core": (5, 5), "bcc": (4, 17), "kmod": (3, 10), "none": (2, 6)}
"""The first kernel of each driver."""

_IDLE_BYTES = 100 << 20  # the budget of an idle agent, ring and maps included
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of linux/proc_ns.h


def programs(host: Host, config: Config) -> list[Finding]:
    wanted = ["analyzers/native/firesteel-engine", "analyzers/_native*.so"]
    if "core" in config.drivers:
        wanted += ["probes/ebpf/firesteel-typed-*.bpf.o", "probes/_libbpf*.so"]
    absent = [name for name in wanted if not any(host.programs.glob(name))]
    if absent:
        return [Finding(FAIL, f"not built: {', '.join(absent)}", "make build")]
    return [Finding(OK, "engine, bindings and kernel programs are built")]


def kernel(host: Host, config: Config) -> list[Finding]:
    version = host.kernel()
    able = [driver for driver in config.drivers if version >= OLDEST[driver]]
    if not able:
        oldest = min(OLDEST[driver] for driver in config.drivers)
        return [
            Finding(
                FAIL,
                f"Linux {host.release()} is older than {oldest[0]}.{oldest[1]}, which {' or '.join(config.drivers)} needs",
                "allow another driver, or use a newer kernel",
            )
        ]
    return [Finding(OK, f"Linux {host.release()}: new enough for {', '.join(able)}")]


def btf(host: Host, config: Config) -> list[Finding]:
    if host.exists("/sys/kernel/btf/vmlinux"):
        return [Finding(OK, "the kernel describes its types (/sys/kernel/btf/vmlinux)")]
    if config.kernel.btf:
        return [Finding(OK, f"the kernel does not describe its types; those in {config.kernel.btf} are used")]
    state = FAIL if config.drivers == ("core",) else WARN
    return [
        Finding(
            state,
            "the kernel has no BTF, so the core driver cannot load",
            "a kernel with CONFIG_DEBUG_INFO_BTF=y, or its types in a file: --btf FILE",
        )
    ]


def privileges(host: Host, config: Config) -> list[Finding]:
    have = capabilities.capabilities_in(host.process())
    lacks = {driver: capabilities.missing(driver, have) for driver in config.drivers}
    watching = [driver for driver in config.drivers if driver != "none"] or ["none"]
    chosen = next((driver for driver in watching if not lacks[driver]), None)
    findings: list[Finding] = []
    for driver, names in lacks.items():
        listed = ", ".join(f"CAP_{name}" for name in names)
        if not names:
            findings.append(Finding(OK, f"{driver}: every capability it needs is there"))
        elif chosen is None:
            state = FAIL if driver == watching[0] else WARN
            findings.append(Finding(state, f"{driver}: {listed} missing", capabilities.remedy(names)))
        else:
            findings.append(Finding(OK, f"{driver} would need {listed}; {chosen} does not"))
    return findings


def seccomp(host: Host, _config: Config) -> list[Finding]:
    found = re.search(r"^Seccomp:\s*(\d)", host.process(), re.MULTILINE)
    if found is None or found[1] == "0":
        return [Finding(OK, "no seccomp filter restricts this process")]
    return [
        Finding(
            WARN,
            "a seccomp filter is in force, and older default profiles refuse bpf() even with CAP_BPF",
            "seccompProfile: {type: Unconfined}, or --security-opt seccomp=unconfined; each process filters itself",
        )
    ]


def lockdown(host: Host, _config: Config) -> list[Finding]:
    told = host.read("/sys/kernel/security/lockdown")
    if told is None:
        return [
            Finding(OK, "no lockdown is told of (no securityfs at /sys/kernel/security, or a kernel without lockdown)")
        ]
    mode = re.search(r"\[(\w+)\]", told)
    if mode is None or mode[1] == "none":
        return [Finding(OK, "the kernel is not locked down")]
    if mode[1] == "confidentiality":
        return [
            Finding(
                FAIL,
                "the kernel is locked down for confidentiality: BPF programs may not read kernel memory",
                "boot with lockdown=integrity or without lockdown",
            )
        ]
    return [
        Finding(WARN, "the kernel is locked down: unsigned modules are refused, BPF works", "sign the module for kmod")
    ]


def unprivileged_bpf(host: Host, _config: Config) -> list[Finding]:
    told = host.read("/proc/sys/kernel/unprivileged_bpf_disabled")
    if told is None:
        return [
            Finding(
                WARN, "this kernel has no switch for unprivileged BPF, perhaps no BPF at all", "CONFIG_BPF_SYSCALL=y"
            )
        ]
    if told == "0":
        return [
            Finding(
                WARN,
                "every user may load BPF programs; Firesteel does not need that",
                "sysctl kernel.unprivileged_bpf_disabled=2",
            )
        ]
    return [Finding(OK, "only privileged processes may load BPF programs")]


def jit(host: Host, _config: Config) -> list[Finding]:
    if host.read("/proc/sys/net/core/bpf_jit_enable") == "0":
        return [Finding(WARN, "BPF programs are interpreted, several times slower", "sysctl net.core.bpf_jit_enable=1")]
    return [Finding(OK, "BPF programs are compiled")]


def cgroups(host: Host, _config: Config) -> list[Finding]:
    if host.exists("/sys/fs/cgroup/cgroup.controllers"):
        return [Finding(OK, "cgroup v2")]
    if host.exists("/sys/fs/cgroup/unified/cgroup.procs"):
        return [Finding(OK, "cgroup v1 with v2 beside it (hybrid)")]
    if host.exists("/sys/fs/cgroup/memory") or host.exists("/sys/fs/cgroup/pids"):
        return [Finding(OK, "cgroup v1")]
    return [
        Finding(WARN, "no cgroup file system is visible: containers and units have no names", "mount /sys/fs/cgroup")
    ]


def tracefs(host: Host, _config: Config) -> list[Finding]:
    for place in ("/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"):
        if host.exists(place):
            return [Finding(OK, f"tracefs is at {place.removesuffix('/events')}")]
    return [Finding(OK, "tracefs is not mounted; no driver needs it, for bcc's kprobes are perf events")]


def pid_namespace(host: Host, _config: Config) -> list[Finding]:
    try:
        link = str((host.root / "proc/self/ns/pid").readlink())
    except OSError:
        return [Finding(WARN, "the process namespace of this process is not known", "mount /proc")]
    if link == f"pid:[{_INITIAL_PID_NAMESPACE}]":
        return [Finding(OK, "this is the machine's own process namespace")]
    return [
        Finding(
            WARN,
            "this is a process namespace inside of another: only the processes inside of it are seen",
            "hostPID: true, or --pid=host; on a nested node (kind, k3d) this is as it should be",
        )
    ]


def memory(host: Host, config: Config) -> list[Finding]:
    findings: list[Finding] = []
    limit = _memory_limit(host)
    wanted = _IDLE_BYTES + config.ring.size
    if limit is None:
        findings.append(Finding(OK, "no memory limit"))
    elif limit < wanted:
        findings.append(
            Finding(WARN, f"memory is limited to {limit >> 20} MiB, an idle agent with this ring may need {wanted >> 20}",
                    "raise the limit (400Mi is recommended), or make ring.size smaller")
        )  # fmt: skip
    else:
        findings.append(Finding(OK, f"memory is limited to {limit >> 20} MiB"))
    locked = host.memlock()
    # Since 5.11 BPF memory is charged to the cgroup and this limit no longer counts.
    if host.kernel() < (5, 11) and locked != -1 and locked < config.ring.size * 2:
        told = f"only {size_text(locked)} may be locked, and before Linux 5.11 BPF maps are locked memory"
        findings.append(Finding(WARN, told, "ulimit -l unlimited, or CAP_SYS_RESOURCE"))
    return findings


def _memory_limit(host: Host) -> int | None:
    own = host.read("/proc/self/cgroup") or ""
    places: list[str] = []
    for line in own.splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if not controllers:
            places += [f"/sys/fs/cgroup{path}/memory.max", "/sys/fs/cgroup/memory.max"]
        elif "memory" in controllers.split(","):
            places += [
                f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]  # fmt: skip
    limits = [int(text) for place in places if (text := host.read(place)) and text.isdigit()]
    smallest = min(limits, default=1 << 62)
    return smallest if smallest < 1 << 60 else None


def listeners(host: Host, config: Config) -> list[Finding]:
    findings: list[Finding] = []
    for key, endpoint in (("listen.metrics", config.listen.metrics), ("listen.api", config.listen.api)):
        if endpoint is None:
            findings.append(Finding(OK, f"{key} is off"))
            continue
        error = host.try_listen(endpoint)
        if not error:
            findings.append(Finding(OK, f"{key}: {endpoint} is free"))
        elif error == errno.EADDRINUSE:
            remedy = f"stop the other program (ss -ltnp 'sport = :{endpoint.port}'), or set {key}"
            findings.append(Finding(FAIL, f"{key}: {endpoint} is in use, perhaps by a running agent", remedy))
        else:
            findings.append(
                Finding(FAIL, f"{key}: {endpoint}: {os.strerror(error)}", f"set {key} to an address of this host")
            )
    return findings


def files(host: Host, config: Config) -> list[Finding]:
    named = {
        "listen.tls.cert": config.listen.tls.cert,
        "listen.tls.key": config.listen.tls.key,
        "listen.auth": config.listen.token_file,
        "listen.metrics_auth": config.listen.metrics_token_file,
        "export.otlp.tls.ca": config.export.otlp.tls.ca,
        "export.otlp.tls.cert": config.export.otlp.tls.cert,
        "export.otlp.tls.key": config.export.otlp.tls.key,
        "kubernetes.kubeconfig": config.kubernetes.kubeconfig,
    }
    findings = [
        Finding(FAIL, f"{key}: {path} cannot be read", "create it, or correct the key")
        for key, path in named.items()
        if path and host.read(path) is None
    ]
    return findings or [Finding(OK, "every file that the configuration names can be read")]


CHECKS = (
    Check("programs", programs),
    Check("kernel", kernel),
    Check("btf", btf),
    Check("capabilities", privileges),
    Check("seccomp", seccomp),
    Check("lockdown", lockdown),
    Check("unprivileged-bpf", unprivileged_bpf),
    Check("bpf-jit", jit),
    Check("cgroups", cgroups),
    Check("tracefs", tracefs),
    *MODULE_CHECKS,
    Check("pid-namespace", pid_namespace),
    Check("memory", memory),
    Check("listeners", listeners),
    Check("files", files),
    *CLUSTER_CHECKS,
)
