# SPDX-License-Identifier: Apache-2.0
"""The small image's root as its Dockerfile makes it, without a container engine: its size, what is in it, and that it works."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.programs import MACHINES
from tests import clients, servers
from tests.agents import FIRESTEEL, ROOT, running_agent
from tests.deploy import container, manifests, trees
from tests.processes import engine_of, status

REQUESTS = "kindling_entity_request_total"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="not root, and a runtime is: sudo make test-deploy"),
    pytest.mark.timeout(600),
]


def assembled(folder: Path, **more: str) -> str:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PYTHONHASHSEED": "0", **more}
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.images.assemble", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("image") / "root"
    assembled(folder)
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    yield folder
    subprocess.run(["rm", "-r", str(folder)], check=True)


def spec(tree: Path, profile: str, folder: Path, *extra: str) -> Path:
    objects = manifests.manifest("firesteel-all-profiles")
    pod = manifests.pod_of(manifests.one(objects, "DaemonSet", f"firesteel-{profile}"))
    config = manifests.one(objects, "ConfigMap", "firesteel")["data"]["firesteel.yaml"]
    return container.spec_of(pod, config, folder, extra=extra, tree=tree)


def inside(tree: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    made = spec(tree, "core", folder, "FIRESTEEL_LISTEN__METRICS=off", "FIRESTEEL_LISTEN__API=off")
    return subprocess.run(
        [*container.command(made), *FIRESTEEL, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_is_small_and_has_no_shell(tree: Path) -> None:
    assert trees.size_mb(tree) < trees.LARGEST_MB
    programs = {path.name for folder in ("bin", "usr/bin", "usr/local/bin") for path in (tree / folder).glob("*")}
    assert programs == {"firesteel", "python3", f"python{sys.version_info.major}.{sys.version_info.minor}"}
    assert not [path for path in tree.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6000]


def test_every_library_is_there(tree: Path) -> None:
    assert trees.missing_libraries(tree) == set()


def test_everything_is_for_this_machine(tree: Path) -> None:
    machine = os.uname().machine
    assert trees.machines(tree) == {machine}
    assert trees.bpf_objects(tree) == {f"firesteel-{kind}-{MACHINES[machine]}.bpf.o" for kind in ("typed", "untyped")}


def test_the_bill_of_materials_names_every_package(tree: Path) -> None:
    bill = json.loads((tree / "usr/share/firesteel/sbom.spdx.json").read_text())
    assert bill["spdxVersion"] == "SPDX-2.3"
    names = {part["name"].lower().replace("_", "-") for part in bill["packages"]}
    folders = {
        path.name.removesuffix(".dist-info").rpartition("-")[0].lower()
        for path in tree.glob("usr/local/lib/python3*/*-packages/*.dist-info")
    }
    assert {name.replace("_", "-").replace(".", "-") for name in folders} <= {name.replace(".", "-") for name in names}
    listed = {file for part in bill["packages"] for file in part.get("comment", "").split(", ")} | names
    libraries = {path.name for path in tree.glob("usr/lib/*/*.so*")}
    assert {name for name in libraries if not name.startswith("ld-linux")} <= listed
    assert len({part["SPDXID"] for part in bill["packages"]}) == len(bill["packages"])


def test_licences_of_what_is_debians_are_there(tree: Path) -> None:
    """Of each package that the list of parts names, whole, with the texts that they refer to."""
    bill = json.loads((tree / "usr/share/firesteel/sbom.spdx.json").read_text())
    packages = {
        part["name"] for part in bill["packages"] if part["SPDXID"].startswith("SPDXRef-deb-") and part["versionInfo"]
    }
    documents = {path.parent.name: path for path in tree.glob("usr/share/doc/*/copyright")}
    assert {"libc6", "ca-certificates"} <= packages | {"ca-certificates"} <= documents.keys()
    for package, path in documents.items():
        assert path.read_bytes() == (Path("/usr/share/doc") / package / "copyright").read_bytes()
        assert not path.is_symlink()
    assert (tree / "usr/share/common-licenses/LGPL-2.1").is_file()
    ours = {path.name for path in (tree / "usr/share/doc/firesteel").iterdir()}
    assert {"LICENSE", "GPL-2.0-only.txt"} <= ours


def test_commands_answer(tree: Path, tmp_path: Path) -> None:
    told = inside(tree, tmp_path, "version")
    assert told.stdout.startswith("firesteel 0.1.0, event contract 1"), told.stderr


def test_doctor_finds_nothing_to_repair(tree: Path, tmp_path: Path) -> None:
    told = inside(tree, tmp_path, "doctor", "--json")
    report = json.loads(told.stdout)
    assert report["ok"], told.stdout
    (loaded,) = [
        row["sentence"] for row in report["checks"] if row["check"] == "driver" and " loads by " in row["sentence"]
    ]
    assert loaded.startswith("core loads by")


def test_it_counts(tree: Path, tmp_path: Path) -> None:
    made = spec(tree, "core", tmp_path)
    with running_agent(tmp_path, prefix=container.command(made)) as agent, servers.nginx() as server:
        assert agent.status()["driver"]["name"] == "core", agent.log.read_text()
        for _ in range(9):
            clients.curl(server, "/missing")
        assert agent.counts(REQUESTS, 9, port=str(server.port), response_content="404") == 9
        assert b"<html" in agent.get("/")
        told = status(engine_of(agent))
        assert (int(told["CapBnd"], 16), told["Uid"].split()[0], told["Seccomp"]) == (0, "65532", "2")
        assert not [problem for problem in agent.status()["problems"] if "seccomp" in problem["what"]]
    assert "Traceback" not in agent.log.read_text()


def test_the_cluster_side_finds_its_packages(tree: Path, tmp_path: Path) -> None:
    """A configuration that needs gRPC, OTLP and the Kubernetes client: all of them are loaded late."""
    kubeconfig = tmp_path / "config" / "kubeconfig"
    made = spec(tree, "none", tmp_path, "FIRESTEEL_EXPORT__OTLP__ENDPOINT=http://127.0.0.1:1", "FIRESTEEL_EXPORT__OTLP__SPANS=true",
                "FIRESTEEL_KUBERNETES__KUBECONFIG=/etc/firesteel/kubeconfig")  # fmt: skip
    cluster = {"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "u", "user": {}}],
               "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
               "apiVersion": "v1", "kind": "Config"}  # fmt: skip
    kubeconfig.write_text(json.dumps(cluster))
    with running_agent(tmp_path, prefix=container.command(made)) as agent:
        agent.wait(lambda agent: bool([p for p in agent.status()["problems"] if "the API tells nothing" in p["what"]]))
        assert [p for p in agent.status()["problems"] if "the API tells nothing" in p["what"]]
    text = agent.log.read_text()
    assert "ModuleNotFoundError" not in text
    assert "Traceback" not in text


def test_the_same_build_gives_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    """The second time without git, as in the Dockerfile, whose context has the sources only."""
    assembled(tmp_path / "again", GIT_DIR=str(tmp_path / "nowhere"))
    assert trees.differences(tree, tmp_path / "again") == set()
