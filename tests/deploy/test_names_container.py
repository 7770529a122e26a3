# SPDX-License-Identifier: Apache-2.0
"""`firesteel names` out of the small image's root, in the container that its Deployment describes: it answers an agent.

An ordinary user without any capability, behind a read-only root, under a seccomp filter like RuntimeDefault, with TLS and
the first process of its own process namespace. The API server is the tests' own, so its place is told by a kubeconfig.
"""

import errno
import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collector.metadata import names_stream
from collector.metadata.kubernetes import Cluster
from collector.metadata.names_connection import NamesSettings
from tests.agents import FIRESTEEL, ROOT
from tests.deploy import container, manifests
from tests.deploy.test_image import assembled
from tests.fake_kube import FakeKube, fake_kube, kubeconfig, pod
from tests.names_serving import api_of
from tests.processes import children, status
from tests.servers import certificate, free_port
from tests.unit.test_kube_watch import NODE, SECOND, name_at, within

AGENT = "agent-token"
_READY_SECONDS = 60.0
_PYTHON = "/usr/local/bin/python3"
# Numbers that are the same on all machines: clone3, io_uring_setup.
_CALLS = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
def asked(function, *arguments):
    return 0 if function(*arguments) >= 0 else ctypes.get_errno()
print(json.dumps({
    "personality": asked(libc.personality, ctypes.c_ulong(0xffffffff)),
    "clone3": asked(libc.syscall, 435, None, 0),
    "io_uring_setup": asked(libc.syscall, 425, 0, None),
    "unshare": asked(libc.unshare, 0x10000000),
    "getppid": asked(libc.getppid),
}))
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="not root, and a runtime is: sudo make test-deploy"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("image") / "root"
    assembled(folder)
    yield folder
    subprocess.run(["rm", "-r", str(folder)], check=True)


def deployed() -> manifests.Object:
    """The pod of the names service's Deployment."""
    objects = manifests.manifest("firesteel-large-cluster")
    return manifests.pod_of(manifests.one(objects, "Deployment", "firesteel-names"))


def spec(tree: Path, of: manifests.Object, folder: Path, *extra: str) -> Path:
    objects = manifests.manifest("firesteel-large-cluster")
    config = manifests.one(objects, "ConfigMap", "firesteel-names")["data"]["firesteel.yaml"]
    (folder / "tls").mkdir()
    return container.spec_of(of, config, folder, extra=extra, tree=tree)


@dataclass(slots=True)
class Service:
    """`process` waits for `first`, the container's first process."""

    process: subprocess.Popen[bytes]
    first: int
    port: int
    pages: int
    authority: Path
    log: Path

    def readyz(self) -> str:
        """Why it is not ready; empty once it is."""
        trusted = ssl.create_default_context(cafile=str(self.authority))
        place = f"https://127.0.0.1:{self.pages}/readyz"
        try:
            with urllib.request.urlopen(place, timeout=5, context=trusted) as answer:
                return "" if answer.status == 200 else str(answer.status)
        except OSError as error:
            return str(error)


@contextmanager
def running(tree: Path, folder: Path, kube: FakeKube) -> Iterator[Service]:
    of, port, pages = deployed(), free_port(), free_port()
    made = spec(
        tree, of, folder, f"FIRESTEEL_LISTEN__NAMES=:{port}", f"FIRESTEEL_LISTEN__METRICS=:{pages}",
        "FIRESTEEL_KUBERNETES__KUBECONFIG=/etc/firesteel/kubeconfig",
    )  # fmt: skip
    # As the kubelet makes them: everybody in the container may read, nobody may write.
    kubeconfig(folder / "config", kube.port).chmod(0o644)
    authority, key = certificate(folder)
    for name, source in (("tls.crt", authority), ("ca.crt", authority), ("tls.key", key)):
        (folder / "tls" / name).write_bytes(source.read_bytes())
    log = folder / "names.log"
    command = [*container.command(made), *FIRESTEEL, *of["containers"][0]["args"]]
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process:
        try:
            service = Service(process, 0, port, pages, authority, log)
            ready = within(lambda: process.poll() is not None or not service.readyz(), _READY_SECONDS)
            assert ready, service.readyz() + log.read_text()
            assert process.poll() is None, log.read_text()
            (service.first,) = children(process.pid)
            yield service
        finally:
            process.terminate()


@contextmanager
def an_agent(kube: FakeKube, service: Service) -> Iterator[Cluster]:
    """What an agent knows of the cluster, from the names service."""
    place = NamesSettings(f"127.0.0.1:{service.port}", ca=str(service.authority))
    cluster = Cluster(api_of(kube, AGENT), NODE, 300 * SECOND, place)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def test_it_answers_an_agent(tree: Path, tmp_path: Path) -> None:
    with fake_kube() as kube:
        kube.accounts[AGENT] = {names_stream.PATH}
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with running(tree, tmp_path, kube) as service:
            with an_agent(kube, service) as cluster:
                assert within(lambda: cluster.is_complete), service.log.read_text()
                assert name_at(cluster, "10.1.0.1") == "web-0"
                kube.put("pods", pod("web-1", "10.1.0.2", "n3"))
                assert within(lambda: name_at(cluster, "10.1.0.2") == "web-1")
                # By the service: of the API this agent watches its own node's pods and nothing else.
                assert {state.name for state in cluster.states()} == {"pods"}
                _is_what_the_deployment_says(service.first)
            service.process.terminate()
            assert service.process.wait(deployed()["terminationGracePeriodSeconds"]) == 0, service.log.read_text()
    text = service.log.read_text()
    assert "agents are answered at" in text
    assert "Traceback" not in text
    assert "no seccomp filter" not in text


def _is_what_the_deployment_says(first: int) -> None:
    told = status(first)
    assert (told["Uid"].split(), told["Gid"].split(), told["Groups"]) == (["65532"] * 4, ["65532"] * 4, "65532")
    assert {int(told[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    # The container's filter, and the one that the service gives itself.
    assert (told["NoNewPrivs"], told["Seccomp"], told["Seccomp_filters"]) == ("1", "2", "2")
    assert told["NSpid"].split()[-1] == "1"
    mounts = [line.split() for line in Path(f"/proc/{first}/mounts").read_text().splitlines()]
    writable = [mount[1] for mount in mounts if "rw" in mount[3].split(",")]
    assert [place for place in writable if not place.startswith(("/proc", "/dev"))] == ["/tmp"]


def called(tree: Path, of: manifests.Object, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    command = [*container.command(spec(tree, of, folder)), _PYTHON, "-c", _CALLS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_the_filter_refuses_what_a_runtimes_does(tree: Path, tmp_path: Path) -> None:
    """So that the other proves something: the same calls without the filter reach the kernel."""
    refused = called(tree, deployed(), tmp_path / "filtered")
    assert refused == {
        "personality": errno.EPERM, "clone3": errno.ENOSYS, "io_uring_setup": errno.EPERM, "unshare": errno.EPERM,
        "getppid": 0,
    }  # fmt: skip
    without = deployed()
    without["securityContext"]["seccompProfile"] = {"type": "Unconfined"}
    reached = called(tree, without, tmp_path / "unconfined")
    assert (reached["personality"], reached["clone3"]) == (0, errno.EINVAL)
