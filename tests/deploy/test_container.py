# SPDX-License-Identifier: Apache-2.0
"""The container of each profile, as the committed manifests describe it: it starts with what is listed, and says what lacks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analyzers import recording
from collector.capabilities import NUMBERS, PROFILES, effective
from deploy.kubectl.kubectl_firesteel import jobs
from probes import bcc_cache, module_file
from tests import clients, servers
from tests.agents import FIRESTEEL, ROOT, START_SECONDS, running_agent
from tests.deploy import container, manifests
from tests.processes import children, engine_of, status

REQUESTS = "kindling_entity_request_total"
EDGES = "kindling_topology_request_total"
HERE = effective()
"""What root of this machine has itself: in some virtual machines not everything."""
_LISTEN = ("FIRESTEEL_LISTEN__API=off", "FIRESTEEL_LISTEN__METRICS=off")
# What this kernel loads: bcc or kmod in a machine that takes them.
_LOADS = os.environ.get("FIRESTEEL_TEST_PROFILES", "core").split()
# Under emulation each start takes many times as long.
_SECONDS = 2 * START_SECONDS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root, and a runtime is: sudo make test-deploy")


def spec(profile: str, folder: Path, *, without: str = "", extra: tuple[str, ...] = ()) -> Path:
    objects = manifests.manifest("firesteel-all-profiles")
    pod = manifests.pod_of(manifests.one(objects, "DaemonSet", f"firesteel-{profile}"))
    config = manifests.one(objects, "ConfigMap", "firesteel")["data"]["firesteel.yaml"]
    assert (pod["hostPID"], pod["hostNetwork"]) == (True, True)
    folder.chmod(0o755)
    # What was compiled before, where it would take minutes.
    kept = tuple(f"{name}={os.environ[name]}" for name in (bcc_cache.VARIABLE,) if name in os.environ)
    return container.spec_of(pod, config, folder, without=without, extra=(*kept, *extra))


def inside(profile: str, folder: Path, *command: str, without: str = "") -> subprocess.CompletedProcess[str]:
    made = spec(profile, folder, without=without, extra=_LISTEN)
    return subprocess.run(
        [*container.command(made), *command], cwd=ROOT, check=False, capture_output=True, text=True, timeout=_SECONDS
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_it_is_what_a_runtime_makes(profile: str, tmp_path: Path) -> None:
    """So that the others prove something: capabilities are these, the root cannot be written, little is in the environment."""
    told = inside(
        profile, tmp_path, "/bin/sh", "-c",
        "cat /proc/self/status; touch /firesteel /etc/firesteel/x /sys/fs/cgroup/x; touch /tmp/x && echo written;"
        " echo 1 >/proc/sys/net/core/bpf_jit_enable; env",
    )  # fmt: skip
    fields = dict(line.split(":", 1) for line in told.stdout.splitlines() if ":\t" in line)
    mask = sum(1 << NUMBERS[name] for name in PROFILES[profile] if name in HERE)
    assert {name: int(fields[name], 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {
        "CapBnd": mask, "CapPrm": mask, "CapEff": mask, "CapInh": 0, "CapAmb": 0,
    }  # fmt: skip
    assert fields["NoNewPrivs"].strip() == "1"
    assert told.stdout.count("written") == 1
    assert told.stderr.count("Read-only file system") == 4, told.stderr
    assert "HOME=" not in told.stdout
    assert f"FIRESTEEL_DRIVER=[{profile}" in told.stdout


@pytest.mark.parametrize("profile", _LOADS)
def test_it_counts_with_what_is_listed(profile: str, tmp_path: Path) -> None:
    made = spec(profile, tmp_path)
    with running_agent(tmp_path, prefix=container.command(made)) as agent, servers.nginx() as server:
        report = agent.status()["driver"]
        assert report["name"] == profile, agent.log.read_text()
        if profile == "core":  # the others have no programs that walk over what was there before
            assert [hook["name"] for hook in report["hooks"] if not hook["attached"]] == []
        for _ in range(12):
            clients.curl(server, "/missing")
        assert agent.counts(REQUESTS, 12, port=str(server.port), response_content="404") == 12
        assert agent.total(EDGES, dst_port=str(server.port)) == 12
        _has_nothing_left(agent.process.pid, engine_of(agent))
        assert not [p for p in agent.status()["problems"] if "read-only" in p["cause"].lower()]
        text = agent.log.read_text()
    assert "Read-only file system" not in text
    assert "Traceback" not in text


def test_none_sees_edges_with_what_is_listed(tmp_path: Path) -> None:
    made = spec("none", tmp_path)
    with running_agent(tmp_path, prefix=container.command(made)) as agent:
        assert agent.status()["driver"]["name"] == "none"
        _has_nothing_left(agent.process.pid, *children(agent.process.pid))
        assert agent.page()
    assert "Traceback" not in agent.log.read_text()


def _has_nothing_left(*pids: int) -> None:
    for pid in pids:
        told = status(pid)
        assert {int(told[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert told["Uid"].split() == ["65532"] * 4


@pytest.mark.parametrize(
    ("profile", "without"), [(profile, name) for profile, names in PROFILES.items() for name in names]
)
def test_one_capability_less_is_named(profile: str, without: str, tmp_path: Path) -> None:
    ended = inside(profile, tmp_path, *FIRESTEEL, "run", without=without)
    assert ended.returncode == 3, ended.stderr
    lacks = [name for name in PROFILES[profile] if name == without or name not in HERE]
    listed = ", ".join(f"CAP_{name}" for name in lacks)
    assert f"the {profile} driver needs {listed}, which this process does not have" in ended.stderr
    assert f"list {', '.join(lacks)} under securityContext.capabilities.add" in ended.stderr


@pytest.mark.parametrize("profile", _LOADS)
def test_a_recording_comes_out_of_it(profile: str, tmp_path: Path) -> None:
    """The root cannot be written, and there is no tar for kubectl cp."""
    made = spec(profile, tmp_path, extra=(*_LISTEN, f"PYTHONPATH={ROOT}"))
    command = [*container.command(made), *FIRESTEEL, "record", "-", "--duration", "1s"]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, timeout=_SECONDS)
    assert ended.returncode == 0, ended.stderr
    path = tmp_path / "a.fsrec"
    path.write_bytes(ended.stdout)
    assert recording.read_head(path).driver == profile


@pytest.mark.parametrize("profile", [name for name in ("bcc", "kmod") if set(PROFILES[name]) <= HERE])
def test_a_profile_that_this_kernel_does_not_take_falls_back_and_says_so(profile: str, tmp_path: Path) -> None:
    """On a kernel that takes it, it is used; whether it is, tests/vm finds out on kernels that are known."""
    made = spec(profile, tmp_path, extra=(f"FIRESTEEL_DRIVER=[{profile}, none]",))
    with running_agent(tmp_path, prefix=container.command(made)) as agent:
        report = agent.status()["driver"]
        assert report["name"] in {profile, "none"}
        if report["name"] == "none":
            (rejected,) = [r for r in report["rejected"] if r["name"] == profile]
            assert rejected["reason"]
            assert rejected["remedy"]
            assert "not permitted" not in rejected["reason"].lower()
        _has_nothing_left(agent.process.pid)


def test_an_image_brings_modules_that_the_nodes_folder_does_not_cover(tmp_path: Path) -> None:
    """What recompile-module.sh --image copies, as a layer; the node's own module comes first."""
    objects = manifests.manifest("firesteel-all-profiles")
    pod = manifests.pod_of(manifests.one(objects, "DaemonSet", "firesteel-kmod"))
    (volume,) = [
        each["name"] for each in pod["volumes"] if each.get("hostPath", {}).get("path") == str(module_file.BUILT)
    ]
    node, image = tmp_path / "node", tmp_path / "image"
    release = "4.4.0-firesteel"
    content = b"\x7fELF...\0vermagic=" + release.encode() + b" SMP \0"
    for folder in (node, image):
        folder.mkdir(mode=0o755)
    (image / release / "1").mkdir(parents=True)
    (image / release / "1/firesteel.ko").write_bytes(content)
    tmp_path.chmod(0o755)
    found: list[str] = []
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        made = container.spec_of(pod, "", tmp_path / attempt, extra=(f"PYTHONPATH={ROOT}",), places={volume: node})
        told = json.loads(made.read_text())
        told["mounts"].append([str(image), str(module_file.IMAGE), True])
        made.write_text(json.dumps(told))
        asked = f"from probes import module_file; print(module_file.find({release!r}).path)"
        ended = subprocess.run(
            [*container.command(made), sys.executable, "-c", asked],
            cwd=ROOT, check=False, capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        found.append(ended.stdout.strip())
        shutil.copytree(image, node, dirs_exist_ok=True)
    assert found == [f"{place}/{release}/1/firesteel.ko" for place in (module_file.IMAGE, module_file.BUILT)]


def test_the_job_of_uninstall_takes_the_folders_away(tmp_path: Path) -> None:
    """Of a stand-in for the node's /var/lib, and not allowed to unload anything here; tests/vm unloads the module."""
    if module_file.loaded_version() is not None:
        pytest.skip("the kernel module is loaded here: rmmod firesteel")
    pod = jobs.wipe_job("a-node", "firesteel", "firesteel:0")["spec"]["template"]["spec"]
    (container_of,) = pod["containers"]
    libraries = tmp_path / "lib"
    (libraries / "firesteel" / "modules" / "6.1.0" / "1").mkdir(parents=True)
    (libraries / "others").mkdir()
    made = container.spec_of(pod, "", tmp_path, without="SYS_MODULE", places={"state": libraries})
    command = [*container.command(made), *FIRESTEEL, *container_of["args"]]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=_SECONDS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"removed /node/var/lib/firesteel{name}" for name in ("/modules", "")]
    assert [path.name for path in libraries.iterdir()] == ["others"]


def test_doctor_is_content(tmp_path: Path) -> None:
    ended = inside("core", tmp_path, *FIRESTEEL, "doctor")
    assert ended.returncode == 0, ended.stdout
    assert "core: every capability it needs is there" in ended.stdout
    assert "cgroup" in ended.stdout
    assert "this is the machine's own process namespace" in ended.stdout or "process namespace inside" in ended.stdout
