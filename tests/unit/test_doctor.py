# SPDX-License-Identifier: Apache-2.0
"""The doctor's checks against machines made of files."""

import errno
import io
import json
from pathlib import Path

import pytest

from collector import capabilities
from collector.config import Source
from collector.config_rules import broken_rules
from collector.doctor import doctor, examine
from collector.findings import FAIL, OK, WARN, Finding
from collector.host import Host
from collector.host_checks import CHECKS
from collector.kinds import Endpoint
from collector.listen_keys import Listeners, Tls
from collector.options import Exit
from collector.schema import Config, Kubernetes, Ring
from tests.fake_kube import fake_kube, kubeconfig

CORE = ("BPF", "PERFMON", "NET_ADMIN", "SETUID", "SETGID", "SETPCAP")


def mask(names: tuple[str, ...]) -> str:
    return f"{sum(1 << capabilities.NUMBERS[name] for name in names):016x}"


def status(names: tuple[str, ...], seccomp: int = 0) -> str:
    return f"Name:\tpython\nCapInh:\t0000000000000000\nCapEff:\t{mask(names)}\nSeccomp:\t{seccomp}\n"


GOOD = {
    "proc/sys/kernel/osrelease": "6.18.1-amd64\n",
    "proc/self/status": status(CORE),
    "proc/self/cgroup": "0::/system.slice/firesteel.service\n",
    "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
    "proc/sys/net/core/bpf_jit_enable": "1\n",
    "sys/kernel/btf/vmlinux": "BTF",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/memory.max": "max\n",
    "sys/kernel/tracing/events/enable": "0\n",
    "app/analyzers/native/firesteel-engine": "",
    "app/analyzers/_native.so": "",
    "app/probes/ebpf/firesteel-typed-x86.bpf.o": "",
    "app/probes/_libbpf.cpython-311.so": "",
}


def machine(
    root: Path, changes: dict[str, str | None] | None = None, errors: dict[int, int] | None = None, memlock: int = -1
) -> Host:
    """A machine in order, but for `changes`: a file's text, or None for none."""
    for path, text in (GOOD | (changes or {})).items():
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    link = root / "proc/self/ns/pid"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("pid:[4026531836]")
    return Host(
        root, root / "app", try_listen=lambda endpoint: (errors or {}).get(endpoint.port, 0), memlock=lambda: memlock
    )


def found(host: Host, name: str, config: Config | None = None) -> list[Finding]:
    (check,) = [check for check in CHECKS if check.name == name]
    return list(check.run(host, config or Config()))


def test_a_machine_in_order_has_nothing_to_repair(tmp_path: Path) -> None:
    rows = examine(machine(tmp_path), Config())
    assert [row for row in rows if row.state != OK] == []
    assert {row.check for row in rows} == {check.name for check in CHECKS}


@pytest.mark.parametrize("left_out", CORE)
def test_a_missing_capability_is_named_with_its_remedy(left_out: str, tmp_path: Path) -> None:
    have = tuple(name for name in CORE if name != left_out)
    findings = found(machine(tmp_path, {"proc/self/status": status(have)}), "capabilities")
    assert (findings[0].state, findings[0].sentence) == (FAIL, f"core: CAP_{left_out} missing")
    assert f"--cap-add={left_out}," in findings[0].remedy
    assert f"list {left_out} under securityContext" in findings[0].remedy


def test_what_a_driver_further_down_lacks_does_not_matter(tmp_path: Path) -> None:
    findings = found(machine(tmp_path), "capabilities")
    assert [finding.state for finding in findings] == [OK] * 4
    assert findings[1].sentence == "bcc would need CAP_SYS_ADMIN, CAP_SYS_RESOURCE; core does not"


def test_sys_admin_stands_for_bpf_and_perfmon() -> None:
    have = ("SYS_ADMIN", "NET_ADMIN", "SETUID", "SETGID", "SETPCAP")
    assert capabilities.missing("core", have) == ()
    assert capabilities.missing("core", have[1:]) == ("BPF", "PERFMON")
    assert capabilities.missing("bcc", have) == ("SYS_RESOURCE",)
    assert capabilities.missing("none", ()) == ("SETUID", "SETGID", "SETPCAP")


def test_capabilities_are_read_from_the_effective_set() -> None:
    told = "CapInh:\t000001ffffffffff\nCapPrm:\t000001ffffffffff\nCapEff:\t0000008000001000\n"
    assert capabilities.capabilities_in(told) == {"BPF", "NET_ADMIN"}
    assert capabilities.capabilities_in("") == frozenset()


def test_the_driver_none_needs_no_kernel_capability(tmp_path: Path) -> None:
    host = machine(tmp_path, {"proc/self/status": status(("SETUID", "SETGID", "SETPCAP"))})
    assert [row.state for row in found(host, "capabilities", Config(driver=("none",)))] == [OK]


@pytest.mark.parametrize(
    ("check", "changes", "config", "state", "part"),
    [
        (
            "kernel",
            {"proc/sys/kernel/osrelease": "4.4.0"},
            Config(driver=("core",)),
            FAIL,
            "older than 5.5, which core",
        ),
        ("kernel", {"proc/sys/kernel/osrelease": "4.4.0"}, Config(), OK, "new enough for kmod, none"),
        ("btf", {"sys/kernel/btf/vmlinux": None}, Config(), WARN, "no BTF"),
        ("btf", {"sys/kernel/btf/vmlinux": None}, Config(driver=("core",)), FAIL, "no BTF"),
        ("seccomp", {"proc/self/status": status(CORE, 2)}, Config(), WARN, "seccomp filter is in force"),
        (
            "lockdown",
            {"sys/kernel/security/lockdown": "none integrity [confidentiality]"},
            Config(),
            FAIL,
            "may not read kernel memory",
        ),
        (
            "lockdown",
            {"sys/kernel/security/lockdown": "none [integrity] confidentiality"},
            Config(),
            WARN,
            "unsigned modules",
        ),
        ("lockdown", {"sys/kernel/security/lockdown": None}, Config(), OK, "no lockdown is told of"),
        ("unprivileged-bpf", {"proc/sys/kernel/unprivileged_bpf_disabled": "0"}, Config(), WARN, "every user"),
        ("unprivileged-bpf", {"proc/sys/kernel/unprivileged_bpf_disabled": None}, Config(), WARN, "no BPF at all"),
        ("bpf-jit", {"proc/sys/net/core/bpf_jit_enable": "0"}, Config(), WARN, "interpreted"),
        ("cgroups", {"sys/fs/cgroup/cgroup.controllers": None}, Config(), WARN, "no cgroup file system"),
        (
            "cgroups",
            {"sys/fs/cgroup/cgroup.controllers": None, "sys/fs/cgroup/unified/cgroup.procs": ""},
            Config(),
            OK,
            "hybrid",
        ),
        (
            "cgroups",
            {"sys/fs/cgroup/cgroup.controllers": None, "sys/fs/cgroup/memory/tasks": ""},
            Config(),
            OK,
            "cgroup v1",
        ),
        ("tracefs", {"sys/kernel/tracing/events/enable": None}, Config(), OK, "no driver needs it"),
        ("memory", {"sys/fs/cgroup/memory.max": "67108864"}, Config(), WARN, "limited to 64 MiB, an idle agent"),
        ("memory", {"sys/fs/cgroup/memory.max": "419430400"}, Config(), OK, "limited to 400 MiB"),
        (
            "memory",
            {"sys/fs/cgroup/memory.max": "134217728"},
            Config(ring=Ring(size=64 << 20)),
            WARN,
            "with this ring may need 164",
        ),
        (
            "memory",
            {
                "proc/self/cgroup": "5:cpu,memory:/docker/x\n",
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "1048576",
            },
            Config(),
            WARN,
            "limited to 1 MiB",
        ),
        (
            "files",
            {},
            Config(kubernetes=Kubernetes(kubeconfig="/nowhere/config")),
            FAIL,
            "kubernetes.kubeconfig: /nowhere/config cannot be read",
        ),
        (
            "files",
            {"tls/a": "x"},
            Config(listen=Listeners(tls=Tls(cert="/tls/a", key="/tls/b"))),
            FAIL,
            "listen.tls.key: /tls/b cannot be read",
        ),
    ],
)
def test_a_machine_with_one_thing_amiss(
    check: str, changes: dict[str, str | None], config: Config, state: str, part: str, tmp_path: Path
) -> None:
    (finding,) = found(machine(tmp_path, changes), check, config)
    assert finding.state == state
    assert part in finding.sentence
    assert bool(finding.remedy) == (state != OK)


def test_a_process_namespace_inside_of_another_is_told(tmp_path: Path) -> None:
    host = machine(tmp_path)
    (tmp_path / "proc/self/ns/pid").unlink()
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026532345]")
    (finding,) = found(host, "pid-namespace")
    assert (finding.state, finding.remedy[:13]) == (WARN, "hostPID: true")


def test_a_port_in_use_is_a_failure_that_names_the_key(tmp_path: Path) -> None:
    metrics, api = found(machine(tmp_path, errors={9501: errno.EADDRINUSE}), "listeners")
    assert metrics == Finding(OK, "listen.metrics: 127.0.0.1:9500 is free")
    assert api.state == FAIL
    assert api.sentence == "listen.api: 127.0.0.1:9501 is in use, perhaps by a running agent"
    assert "ss -ltnp 'sport = :9501'" in api.remedy
    other = found(machine(tmp_path / "b", errors={9500: errno.EADDRNOTAVAIL}), "listeners")[0]
    assert other.sentence == "listen.metrics: 127.0.0.1:9500: Cannot assign requested address"
    off = found(machine(tmp_path / "c"), "listeners", Config(listen=Listeners(metrics=None)))[0]
    assert off == Finding(OK, "listen.metrics is off")


def test_the_real_port_check_sees_a_listener() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert Host().try_listen(Endpoint("127.0.0.1", port)) == errno.EADDRINUSE
    assert Host().try_listen(Endpoint("127.0.0.1", 0)) == 0
    assert Host().try_listen(Endpoint("203.0.113.7", 0)) == errno.EADDRNOTAVAIL


def test_locked_memory_matters_on_old_kernels_only(tmp_path: Path) -> None:
    old: dict[str, str | None] = {"proc/sys/kernel/osrelease": "5.10.0"}
    limited = found(machine(tmp_path / "a", old, memlock=65536), "memory")
    assert [row.state for row in limited] == [OK, WARN]
    assert "only 64KiB may be locked" in limited[1].sentence
    assert len(found(machine(tmp_path / "b", old, memlock=-1), "memory")) == 1
    assert len(found(machine(tmp_path / "c", memlock=65536), "memory")) == 1


# --- the command


def run(tmp_path: Path, host: Host, text: str = "", as_json: bool = False) -> tuple[Exit, str]:
    path = tmp_path / "firesteel.yaml"
    path.write_text(text, encoding="utf-8")
    out = io.StringIO()
    code = doctor(Source(path, True), as_json, host, out=out)
    return code, out.getvalue()


def test_the_doctor_ends_with_0_when_nothing_is_to_repair(tmp_path: Path) -> None:
    code, told = run(tmp_path, machine(tmp_path))
    assert code == Exit.DONE
    assert told.splitlines()[-1] == "Everything is as it should be."


def test_the_doctor_ends_with_1_and_the_remedy(tmp_path: Path) -> None:
    code, told = run(tmp_path, machine(tmp_path, {"proc/self/status": status(CORE[1:])}))
    assert code == Exit.NOT_AS_WISHED
    lines = told.splitlines()
    assert "fail  capabilities      core: CAP_BPF missing" in lines
    assert lines[lines.index("fail  capabilities      core: CAP_BPF missing") + 1].strip().startswith("-> run as root")
    assert lines[-1] == "1 to repair, 2 to know about."


def test_a_faulty_configuration_is_a_failure_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    code, told = run(tmp_path, machine(tmp_path), "drivr: core\nring: {size: 3MiB}\n", as_json=True)
    assert code == Exit.NOT_AS_WISHED
    answer = json.loads(told)
    assert answer["ok"] is False
    failures = [row for row in answer["checks"] if row["state"] == FAIL]
    assert [row["check"] for row in failures] == ["configuration"] * 2
    assert "firesteel.yaml:1: drivr" in failures[0]["sentence"]
    assert {row["check"] for row in answer["checks"]} == {"configuration", *(check.name for check in CHECKS)}


def test_what_this_version_does_not_do_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.config_rules.DRIVERS_BUILT", ("core", "none"))
    code, told = run(tmp_path, machine(tmp_path), "driver: [kmod, core]\n")
    assert code == Exit.DONE
    assert "driver: kmod: not in this version" in told


def test_defaults_break_no_rule() -> None:
    assert broken_rules(Config()) == []


OLD = {
    "sys/kernel/btf/vmlinux": None,
    "proc/sys/kernel/osrelease": "5.4.0-1-amd64",
    "proc/version": "Linux version 5.4.0-1-amd64 (x@y) (gcc-10 (Debian 10.2.1-6) 10.2.1 20210110, GNU ld) #1",
    "proc/modules": "xt_nat 16384 0",
    "etc/os-release": "NAME=x\nID=debian\n",
    "usr/lib/python3/dist-packages/bcc/__init__.py": "",
    "lib/modules/5.4.0-1-amd64/build/include/generated/autoconf.h": "",
    "usr/bin/gcc-10": "",
}
"""A machine without BTF, on which bcc and the module can be compiled."""


@pytest.mark.parametrize(
    ("check", "changes", "words", "remedy"),
    [
        ("headers", {"lib/modules/5.4.0-1-amd64/build/include/generated/autoconf.h": None}, "no headers", "linux-headers"),
        ("bcc", {"usr/lib/python3/dist-packages/bcc/__init__.py": None}, "BCC is not installed", "python3-bpfcc"),
        ("compiler", {"usr/bin/gcc-10": None}, "built by gcc 10, which is not here", "gcc-10"),
        ("compiler", {"usr/bin/gcc-10": None, "usr/bin/gcc": "", "usr/lib/gcc/x86_64-linux-gnu/9/cc1": ""}, "gcc 10", "gcc-10"),
        ("modules", {"proc/modules": None}, "no loadable modules", "CONFIG_MODULES"),
        ("modules", {"proc/sys/kernel/modules_disabled": "1"}, "switched off until the next boot", "modules_disabled"),
        ("modules", {"sys/module/module/parameters/sig_enforce": "Y"}, "signed modules only", "--sign"),
        (
            "modules",
            {"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\x06\0\0\0\x01"},
            "Secure Boot is on", "mokutil",
        ),
        (
            "modules",
            {"sys/module/firesteel/version": "0.0.9", "app/probes/kmod/interface.h": '#define FS_KMOD_VERSION "0.1.0"'},
            "another version is loaded: 0.0.9, this agent has 0.1.0", "rmmod",
        ),
        ("kprobes", {"sys/kernel/tracing/events/enable": "0"}, "no kprobes", "CONFIG_KPROBES"),
        ("platform", {"etc/os-release": "ID=talos"}, "Talos", "core"),
        ("platform", {"etc/os-release": 'ID="bottlerocket"'}, "Bottlerocket", "core"),
        ("platform", {"etc/os-release": "ID=cos"}, "Container-Optimized OS", "core"),
        ("platform", {"etc/os-release": "ID=flatcar"}, "Flatcar", "core"),
    ],
)  # fmt: skip
def test_what_compiled_drivers_stand_on(
    check: str, changes: dict[str, str | None], words: str, remedy: str, tmp_path: Path
) -> None:
    """A warning where core cannot load and another driver may; a failure if no other may; and no fault where core can."""
    told = found(machine(tmp_path / "old", OLD | changes), check)
    (bad,) = [finding for finding in told if finding.state != OK]
    assert bad.state == WARN
    assert words in bad.sentence
    assert remedy in bad.remedy
    only = Config(driver=("bcc",) if check in {"bcc", "headers"} else ("kmod",))
    assert FAIL in [finding.state for finding in found(machine(tmp_path / "only", OLD | changes), check, only)]
    good = found(machine(tmp_path / "new", OLD | changes | {"sys/kernel/btf/vmlinux": "BTF"}), check)
    assert {finding.state for finding in good} == {OK}


def test_what_compiled_drivers_stand_on_is_there(tmp_path: Path) -> None:
    host = machine(tmp_path, OLD | {"sys/bus/event_source/devices/kprobe/type": "6"})
    assert found(host, "kprobes") == []
    host = machine(tmp_path / "old", OLD | {"sys/kernel/tracing/kprobe_events": ""})
    for check in ("headers", "bcc", "compiler", "modules", "kprobes", "platform"):
        assert [finding for finding in found(host, check) if finding.state != OK] == []


def test_inside_gvisor_nothing_can_be_seen(tmp_path: Path) -> None:
    (finding,) = found(machine(tmp_path, {"proc/version": "Linux version 4.4.0 gVisor"}), "platform")
    assert (finding.state, "outside of the sandbox" in finding.remedy) == (FAIL, True)


def test_a_kernel_that_brings_its_headers_needs_no_package(tmp_path: Path) -> None:
    changes = {"lib/modules/5.4.0-1-amd64/build/include/generated/autoconf.h": None, "sys/kernel/kheaders.tar.xz": ""}
    bcc = Config(driver=("bcc",))
    assert [finding.state for finding in found(machine(tmp_path, OLD | changes), "headers", bcc)] == [OK]
    both = found(machine(tmp_path / "both", OLD | changes), "headers", Config(driver=("bcc", "kmod", "none")))
    assert [finding.state for finding in both] == [OK, WARN]
    assert both[1].sentence == "no headers of Linux 5.4.0-1-amd64: kmod cannot be compiled here"


@pytest.mark.parametrize("folder", ["usr/src/linux-headers-5.4.0-1-amd64", "usr/src/kernels/5.4.0-1-amd64"])
def test_headers_are_looked_for_where_distributions_put_them(folder: str, tmp_path: Path) -> None:
    gone = {"lib/modules/5.4.0-1-amd64/build/include/generated/autoconf.h": None}
    host = machine(tmp_path, OLD | gone | {f"{folder}/include/generated/autoconf.h": ""})
    assert found(host, "headers") == [Finding(OK, f"headers of this kernel are at /{folder}")]


def test_the_systems_own_compiler_may_be_the_kernels(tmp_path: Path) -> None:
    changes = {"usr/bin/gcc-10": None, "usr/bin/gcc": "", "usr/lib/gcc/x86_64-redhat-linux/10/cc1": ""}
    told = found(machine(tmp_path, OLD | changes), "compiler")
    assert told == [Finding(OK, "the compiler that built the kernel is here: /usr/bin/gcc")]


@pytest.mark.parametrize("folder", ["var/lib/firesteel/modules", "usr/share/firesteel/modules"])
def test_a_module_that_is_built_wants_no_headers_and_no_compiler(folder: str, tmp_path: Path) -> None:
    built = f"{folder}/5.4.0-1-amd64/1/firesteel.ko"
    gone = {"lib/modules/5.4.0-1-amd64/build/include/generated/autoconf.h": None, "usr/bin/gcc-10": None}
    host, only = machine(tmp_path, OLD | gone | {built: ""}), Config(driver=("kmod",))
    assert found(host, "headers", only) == [Finding(OK, f"the module for this kernel is built: /{built}")]
    assert found(host, "compiler", only) == []


@pytest.mark.parametrize(
    ("nodes", "names", "state", "told"),
    [
        (100, "off", OK, "a cluster of 100 nodes"),
        (101, "off", WARN, "101 nodes and no names service"),
        (101, "auto", WARN, "101 nodes and no names service"),
        (101, "names.example.com:9502", OK, "by the names service at names.example.com:9502"),
    ],
)
def test_a_large_cluster_wants_a_names_service(tmp_path: Path, nodes: int, names: str, state: str, told: str) -> None:
    with fake_kube(token="secret") as kube:
        for number in range(nodes):
            kube.put("nodes", {"metadata": {"name": f"n{number}", "uid": f"n-{number}"}, "status": {}})
        config = Config(kubernetes=Kubernetes(kubeconfig=str(kubeconfig(tmp_path, kube.port)), names=names))
        (finding,) = found(machine(tmp_path / "host"), "names", config)
        assert (finding.state, told in finding.sentence, bool(finding.remedy)) == (state, True, state == WARN)
        assert len(kube.requests) == 1  # one node and how many are left, whatever the size


def test_a_cluster_that_refuses_is_told_with_a_remedy(tmp_path: Path) -> None:
    with fake_kube(token="another") as kube:
        config = Config(kubernetes=Kubernetes(kubeconfig=str(kubeconfig(tmp_path, kube.port))))
        (finding,) = found(machine(tmp_path / "host"), "names", config)
    assert (finding.state, "401" in finding.sentence, "may list nodes" in finding.remedy) == (WARN, True, True)
