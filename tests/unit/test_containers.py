# SPDX-License-Identifier: Apache-2.0
"""Cgroup paths as runtimes write them: one fixture for each row of the table, and what surrounds them."""

import pytest

from collector.metadata.containers import FORMATS, CgroupOwner, owner_of, paths_of

ID = "5d6b1bf2a6d0f0e1c2b3a4958677869504132231405f6e7d8c9baab9c8d7e6f5"
NODE = "a" * 64
UID = "0c1d2e3f-4a5b-6c7d-8e9f-a0b1c2d3e4f5"
USID = UID.replace("-", "_")
HASH = "0123456789abcdef0123456789abcdef"

# (runtime, driver as the table has it, path, pod)
FIXTURES = [
    ("containerd", "systemd", f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{USID}.slice/cri-containerd-{ID}.scope", UID),
    ("containerd", "systemd path with the cgroupfs driver", f"/system.slice/containerd.service/kubepods-besteffort-pod{USID}.slice:cri-containerd:{ID}", UID),
    ("cri-o", "systemd", f"/kubepods.slice/kubepods-pod{USID}.slice/crio-{ID}.scope/container", UID),
    ("cri-o", "cgroupfs", f"/kubepods/burstable/pod{UID}/crio-{ID}", UID),
    ("cri-o", "systemd path with the cgroupfs driver", f"/system.slice/crio.service/kubepods-pod{USID}.slice:crio:{ID}", UID),
    ("docker", "systemd", f"/system.slice/docker-{ID}.scope", ""),
    ("podman", "systemd", f"/machine.slice/libpod-{ID}.scope/container", ""),
    ("podman", "cgroupfs", f"/libpod_parent/libpod-{ID}", ""),
    ("nerdctl", "systemd", f"/system.slice/nerdctl-{ID}.scope", ""),
    ("", "cgroupfs", f"/docker/{ID}", ""),
]  # fmt: skip

OTHERS = [
    # cri-dockerd and dockershim, both drivers
    ("docker", f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{USID}.slice/docker-{ID}.scope", UID),
    ("", f"/kubepods/besteffort/pod{UID}/{ID}", UID),
    # k3s and Bottlerocket
    ("", f"/kubepods/pod{UID}/{ID}", UID),
    ("containerd", f"/kubepods.slice/kubepods-pod{USID}.slice/cri-containerd-{ID}.scope", UID),
    # Talos: the kubelet is a container of its own namespace
    ("", f"/podruntime/kubelet/kubepods/burstable/pod{UID}/{ID}", UID),
    # kind: the node is a container itself
    ("containerd", f"/system.slice/docker-{NODE}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{USID}.slice/cri-containerd-{ID}.scope", UID),
    ("", f"/docker/{NODE}/kubelet/kubepods/besteffort/pod{UID}/{ID}", UID),
    # a static pod has the hash of its manifest
    ("containerd", f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/cri-containerd-{ID}.scope", HASH),
    # rootless podman
    ("podman", f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", ""),
    # a private cgroup namespace
    ("containerd", f"/../../kubepods-pod{USID}.slice/cri-containerd-{ID}.scope", UID),
    # ECS
    ("", f"/ecs/0123456789abcdef0123456789abcdef/{ID}", ""),
]  # fmt: skip


def test_the_table_has_a_fixture_for_each_row() -> None:
    assert [(row.runtime, row.driver) for row in FORMATS] == [(runtime, driver) for runtime, driver, *_ in FIXTURES]


@pytest.mark.parametrize(("number", "fixture"), list(enumerate(FIXTURES)))
def test_each_row_matches_its_fixture_and_no_other_row_does(number: int, fixture: tuple[str, str, str, str]) -> None:
    runtime, _, path, pod = fixture
    matching = [row for row in FORMATS if any(row.component.fullmatch(part) for part in path.split("/"))]
    assert matching == [FORMATS[number]]
    assert owner_of(path) == CgroupOwner(runtime, ID, pod, "")


@pytest.mark.parametrize(("runtime", "path", "pod"), OTHERS)
def test_other_places(runtime: str, path: str, pod: str) -> None:
    assert owner_of(path) == CgroupOwner(runtime, ID, pod, "")


@pytest.mark.parametrize(
    ("path", "unit", "container"),
    [
        ("/system.slice/nginx.service", "nginx.service", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/demo.service", "demo.service", ""),
        ("/user.slice/user-1000.slice/session-3.scope", "", ""),
        # the runtime's own unit is not the container's
        (f"/system.slice/containerd.service/{ID}", "", ID),
        # systemd inside of a container
        (f"/system.slice/docker-{ID}.scope/system.slice/kubelet.service", "kubelet.service", ID),
        # the monitor of a container is not the container
        (f"/machine.slice/libpod-conmon-{ID}.scope", "", ""),
        (f"/system.slice/crio-conmon-{ID}.scope", "", ""),
        ("/", "", ""),
        ("/../..", "", ""),
        ("/kubepods/poddle/abc", "", ""),
    ],
)
def test_units(path: str, unit: str, container: str) -> None:
    owner = owner_of(path)
    assert (owner.unit, owner.container_id) == (unit, container)


def test_paths_of_every_hierarchy_the_telling_ones_first() -> None:
    hybrid = (
        "12:memory:/docker/x\n5:name=systemd:/system.slice/a.service\n4:cpu,cpuacct:/docker/x\n3:pids:/\n"
        "0::/system.slice/a.service (deleted)\n"
    )
    assert paths_of(hybrid) == ("/system.slice/a.service", "/docker/x")
    assert paths_of("0::/\n") == ()
    assert paths_of("0::/a:b\n") == ("/a:b",)
    assert paths_of("") == ()
    assert paths_of("garbage\n:::\n") == (":",)
