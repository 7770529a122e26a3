# SPDX-License-Identifier: Apache-2.0
"""What a container runtime does with a pod of ours, without one: `python -m tests.deploy.container SPEC.json -- COMMAND`.

As runc for a container that is not privileged (OCI runtime specification, config-linux): a mount namespace of its own; a
read-only root; proc, sysfs (read-only) and a small /dev; parts of /proc masked or read-only; the pod's volumes; the
environment that is listed and nothing else; exactly the listed capabilities in the bounding set, for root in the permitted
and effective sets too, and none that is inherited; user, group and fsGroup; no new privileges; the seccomp filter.

With hostPID the command replaces this process. Without, it is the first of a process namespace, and this process waits,
hands SIGTERM and SIGINT on and ends as it does. The network is always the machine's own: the tests' servers are there.
"""

import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

from collector.capabilities import NUMBERS
from tests.deploy.runtime_default import Filter

ROOT = Path(__file__).resolve().parents[2]
_CLONE_NEWNS, _CLONE_NEWPID = 0x20000, 0x20000000
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_NO_PLACES: Mapping[str, Path] = MappingProxyType({})
# The defaults of containerd and CRI-O.
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi",
           "/proc/acpi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap")  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def spec_of(
    pod: dict[str, Any],
    config: str,
    folder: Path,
    *,
    without: str = "",
    extra: Sequence[str] = (),
    tree: Path = Path("/"),
    places: Mapping[str, Path] = _NO_PLACES,
) -> Path:
    """Writes what `main` needs to know of a rendered pod; `without` is a capability that is left out, `extra` VARIABLE=text.

    `tree` is the image's root; / for what is built here. A volume of a ConfigMap or a Secret is the folder of its name in
    `folder`, where `config` is put into the one called config; `places` has folders that stand for others of the node.
    """
    (container,) = pod["containers"]
    security = {**pod.get("securityContext", {}), **container["securityContext"]}
    assert (security["privileged"], security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (
        False, False, True,
    )  # fmt: skip
    user = security["runAsUser"]
    assert user or not security.get("runAsNonRoot", False)
    assert security["capabilities"]["drop"] == ["ALL"]
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "firesteel.yaml").write_text(config)
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NODE_NAME": "a-node", "POD_UID": "0-0"}
    environment |= {variable["name"]: variable["value"] for variable in container.get("env", []) if "value" in variable}
    environment |= dict(text.split("=", 1) for text in extra)
    spec = {
        "capabilities": [name for name in security["capabilities"].get("add", []) if name != without],
        "mounts": list(_mounts(pod, folder, places)),
        "environment": environment,
        "folder": str(folder),
        "tree": str(tree),
        "user": user,
        "group": security.get("runAsGroup", 0),
        "groups": [security["fsGroup"]] if "fsGroup" in security else [],
        "host_pid": pod.get("hostPID", False),
        "seccomp": security.get("seccompProfile", {}).get("type", "Unconfined"),
    }
    assert spec["seccomp"] in {"Unconfined", "RuntimeDefault"}
    path = folder / "container.json"
    path.write_text(json.dumps(spec))
    return path


def _mounts(pod: dict[str, Any], folder: Path, places: Mapping[str, Path]) -> Iterator[tuple[str, str, bool]]:
    """(folder of the machine, or empty for memory; where; whether read-only) of each mount."""
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        name = mount["name"]
        if "emptyDir" in volumes[name]:
            source = ""
        elif "hostPath" in volumes[name]:
            source = str(places.get(name, volumes[name]["hostPath"]["path"]))
        else:
            source = str(folder / name)
        yield source, mount["mountPath"], mount.get("readOnly", False)


def command(spec: Path) -> tuple[str, ...]:
    """What goes before a command to run it in that container."""
    return (sys.executable, "-m", "tests.deploy.container", str(spec), "--")


def main(arguments: Sequence[str]) -> None:
    spec = json.loads(Path(arguments[0]).read_text())
    assert arguments[1] == "--"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS if spec["host_pid"] else _CLONE_NEWNS | _CLONE_NEWPID) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if not spec["host_pid"]:
        _become_first()
    tree = Path(spec["tree"])
    root = _root(Path(spec["folder"]), tree)
    _system(root)
    for source, target, read_only in spec["mounts"]:
        _volume(root, source, target, read_only=read_only)
    if tree == Path("/"):
        _programs(root)
    _mount("-o", "remount,bind,ro", str(root))
    # An image has firesteel where its Dockerfile put it, whatever that of this machine is.
    program = "/usr/local/bin/firesteel" if tree != Path("/") and arguments[2].endswith("/firesteel") else arguments[2]
    filters = Filter() if spec["seccomp"] == "RuntimeDefault" else None
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    os.chroot(root)
    os.chdir("/")
    for number in set(range(last + 1)) - {NUMBERS[name] for name in spec["capabilities"]}:
        _prctl(libc, _PR_CAPBSET_DROP, number)
    os.setgroups(spec["groups"])
    os.setresgid(*[spec["group"]] * 3)
    os.setresuid(*[spec["user"]] * 3)
    if not spec["host_pid"]:
        _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    if filters is not None:
        filters.load()
    # Root gets at exec what is in the bounding set, and keeps it: capabilities(7), "Capabilities and execution of programs by
    # root". Everybody else gets nothing.
    os.execve(program, [program, *arguments[3:]], spec["environment"])


def _become_first() -> None:
    """Returns in the first process of the new process namespace; this one stays outside."""
    first = os.fork()
    if first == 0:
        return

    def hand_on(number: int, _frame: FrameType | None) -> None:
        os.kill(first, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    _, ended = os.waitpid(first, 0)
    code = os.waitstatus_to_exitcode(ended)
    sys.exit(code if code >= 0 else 128 - code)


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _root(folder: Path, tree: Path) -> Path:
    """The image's root, or this machine's, below a layer of ours, in which the places to mount are made."""
    _mount("--make-rprivate", "/")
    layers = folder / "layers"
    layers.mkdir()
    _mount("-t", "tmpfs", "tmpfs", str(layers))
    for name in ("upper", "work", "root"):
        (layers / name).mkdir()
    root = layers / "root"
    _mount(
        "-t", "overlay", "overlay", "-o", f"lowerdir={tree},upperdir={layers}/upper,workdir={layers}/work", str(root)
    )
    return root


def _programs(root: Path) -> None:
    """The programs under test, where they are on a file system of their own, or in /tmp, which is the pod's by now."""
    for place in (ROOT, Path(sys.executable).parent.parent, Path(sys.base_prefix)):
        if place.stat().st_dev != Path("/").stat().st_dev or place.is_relative_to("/tmp"):
            _volume(root, str(place), str(place), read_only=True)


def _system(root: Path) -> None:
    _mount("-t", "proc", "proc", str(root / "proc"))
    _mount("-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys"))
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "dev"))
    for name in _DEVICES:
        device = root / "dev" / name
        os.mknod(device, 0o666 | stat.S_IFCHR, Path(f"/dev/{name}").stat().st_rdev)
        device.chmod(0o666)
    for place in _READ_ONLY:
        if Path(place).exists():
            _mount("--bind", f"{root}{place}", f"{root}{place}")
            _mount("-o", "remount,bind,ro", f"{root}{place}")
    for place in _MASKED:
        if Path(place).is_dir():
            _mount("-t", "tmpfs", "-o", "ro,size=0", "tmpfs", f"{root}{place}")
        elif Path(place).exists():
            _mount("--bind", f"{root}/dev/null", f"{root}{place}")


def _volume(root: Path, source: str, target: str, *, read_only: bool) -> None:
    place = root / target.lstrip("/")
    if target.startswith("/sys/") and not Path(target).exists():
        return  # a kernel without it, on which a runtime would not start this profile
    place.mkdir(parents=True, exist_ok=True)
    if source and not Path(source).exists():
        return  # runtimes make such a folder, empty
    if not source:
        # emptyDir in memory, fsGroup 65532.
        _mount("-t", "tmpfs", "-o", "size=64m,mode=2777,gid=65532", "tmpfs", str(place))
        return
    _mount("--rbind", source, str(place))
    if read_only:
        _mount("-o", "remount,bind,ro", str(place))


def _mount(*arguments: str) -> None:
    subprocess.run(["/bin/mount", *arguments], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
