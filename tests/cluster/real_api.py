# SPDX-License-Identifier: Apache-2.0
"""A real etcd and kube-apiserver, built through the Go module proxy once and kept in $XDG_CACHE_HOME/firesteel/kube-api.

`python -m tests.cluster.real_api` builds them and kube-controller-manager (about half an hour of processor time). Here nothing
else of Kubernetes runs: no scheduler, no kubelet, no controller (tests/deploy/real_cluster.py has these); a test writes what they
would, and an agent is an account with the rights that docs name.
"""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collector.metadata import names_stream
from tests.cluster.api import Object
from tests.fake_kube import PATHS
from tests.servers import MissingProgram, free_port, program

KUBERNETES = "1.33.4"
ADMIN, AGENT = "admin-token-of-this-test", "agent-token-of-this-test"
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firesteel" / "kube-api"
_STAGING = re.compile(r"=> \./staging/src/(k8s\.io/\S+)")
_TOOLS = """//go:build tools

package tools

import (
\t_ "go.etcd.io/etcd/server/v3/etcdmain"
\t_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
\t_ "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)
"""
_PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
_START_SECONDS = 120.0
ROLE: list[Object] = [
    {"apiGroups": [""], "resources": ["pods", "services", "nodes"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list", "watch"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "watch"]},
    {"nonResourceURLs": [names_stream.PATH], "verbs": ["get"]},
]
"""All that docs/kubernetes.md asks for."""


def build() -> None:
    """The programs that are not there. The module's own go.mod names its staging modules by folder: replaced by releases."""
    missing = {name: package for name, package in _PROGRAMS.items() if not (FOLDER / name).exists()}
    if not missing:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "go.mod").write_text("module firesteel.test/kubeapi\n")
    told = json.loads(_go("mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"))
    text = Path(told["GoMod"]).read_text()
    etcd, version = re.search(r"go.etcd.io/etcd/client/v3 (v\S+)", text), re.search(r"^go (\S+)", text, re.MULTILINE)
    assert etcd
    assert version
    minor = KUBERNETES.partition(".")[2]
    lines = ["module firesteel.test/kubeapi", f"go {version[1]}", f"require k8s.io/kubernetes v{KUBERNETES}"]
    lines += [f"require go.etcd.io/etcd/server/v3 {etcd[1]}"]
    lines += [f"replace {name} => {name} v0.{minor}" for name in sorted(set(_STAGING.findall(text)))]
    (FOLDER / "go.mod").write_text("\n".join(lines) + "\n")
    (FOLDER / "tools.go").write_text(_TOOLS)
    _go("mod", "tidy", "-e")
    major, second, _ = KUBERNETES.split(".")
    told_version = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": second}
    flags = ["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in told_version.items())]
    for name, package in missing.items():
        print(f"building {name}", flush=True)
        _go("build", "-trimpath", "-ldflags", " ".join(flags), "-o", name, package)


def _go(*arguments: str) -> str:
    done = subprocess.run([program("go"), *arguments], cwd=FOLDER, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"go {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


@dataclass(slots=True)
class RealApi:
    """See `tests.cluster.api.Api`. `process` is the API server's, for tests that kill or stop it."""

    url: str
    kubeconfig: Path
    process: subprocess.Popen[bytes]
    command: list[str]
    namespaces: set[str] = field(default_factory=lambda: {"kube-system"})

    def put(self, resource: str, item: Object) -> str:
        namespace = item["metadata"].get("namespace", "")
        if namespace and namespace not in self.namespaces:
            self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
            self.namespaces.add(namespace)
        path = _path(resource, namespace)
        name = item["metadata"]["name"]
        try:
            made = self.ask("POST", path, item)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            made = self.ask("GET", f"{path}/{name}")
            if resource != "pods":  # whose specification does not change
                made = self.ask(
                    "PUT",
                    f"{path}/{name}",
                    {**made, **{k: v for k, v in item.items() if k not in {"metadata", "status"}}},
                )
        if item.get("status"):
            made = self.ask("PUT", f"{path}/{name}/status", {**made, "status": item["status"]})
        return str(made["metadata"]["uid"])

    def delete(self, resource: str, key: str) -> None:
        namespace, _, name = key.rpartition("/")
        self.ask("DELETE", f"{_path(resource, namespace)}/{name}", {"gracePeriodSeconds": 0})

    def ask(self, method: str, path: str, body: Object | None = None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode() if body else None, headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=_unverified()) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                print(method, path, error.read().decode(), file=sys.stderr)
            raise


def _path(resource: str, namespace: str) -> str:
    head, _, last = PATHS[resource].rpartition("/")
    return f"{head}/namespaces/{namespace}/{last}" if namespace else f"{head}/{last}"


def _unverified() -> ssl.SSLContext:
    return ssl._create_unverified_context()


def built(name: str) -> str:
    """The path of one of the programs. Raises MissingProgram."""
    if not (FOLDER / name).exists():
        raise MissingProgram(f"{name} was not built: make kube-api")
    return str(FOLDER / name)


@contextmanager
def real_api(folder: Path, flags: Sequence[str] = ()) -> Iterator[RealApi]:
    """On loopback of this thread's network namespace; `flags` are more of the API server's."""
    programs = [built(name) for name in ("etcd", "kube-apiserver")]
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    key, public = folder / "sa.key", folder / "sa.pub"
    subprocess.run([program("openssl"), "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    subprocess.run([program("openssl"), "rsa", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n{AGENT},firesteel,2\n')
    store = f"http://127.0.0.1:{etcd_port}"
    etcd = [
        programs[0], "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync", "--listen-client-urls", store,
        "--advertise-client-urls", store, "--listen-peer-urls", f"http://127.0.0.1:{peer_port}",
        "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer_port}", "--initial-cluster", f"default=http://127.0.0.1:{peer_port}",
    ]  # fmt: skip
    server = [
        programs[1], "--etcd-servers", store, "--secure-port", str(port), "--bind-address", "127.0.0.1",
        "--cert-dir", str(folder / "certs"), "--service-cluster-ip-range", "10.96.0.0/16,fd96::/112",
        "--authorization-mode", "RBAC", "--token-auth-file", str(folder / "tokens.csv"), "--allow-privileged",
        "--disable-admission-plugins", "ServiceAccount", "--service-account-issuer", "https://firesteel.test",
        "--service-account-key-file", str(public), "--service-account-signing-key-file", str(key),
        "--endpoint-reconciler-type", "none", *flags,
    ]  # fmt: skip
    with (folder / "etcd.log").open("wb") as etcd_log, (folder / "apiserver.log").open("wb") as log:
        stored = subprocess.Popen(etcd, stdout=etcd_log, stderr=etcd_log)
        process = subprocess.Popen(server, stdout=log, stderr=log)
        api = RealApi(f"https://127.0.0.1:{port}", kubeconfig(folder / "kubeconfig", port, AGENT), process, server)
        try:
            _wait(api, folder)
            _allow(api)
            yield api
        finally:
            for one in (api.process, stored):
                one.kill()
                one.wait()


def _wait(api: RealApi, folder: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            api.ask("GET", "/api/v1/namespaces/kube-system")
        except (OSError, ValueError):
            if api.process.poll() is not None or time.monotonic() > end:
                raise AssertionError((folder / "apiserver.log").read_text()[-3000:]) from None
            time.sleep(0.2)
        else:
            return


def _allow(api: RealApi) -> None:
    group = "/apis/rbac.authorization.k8s.io/v1"
    role = {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "User", "name": "firesteel", "apiGroup": "rbac.authorization.k8s.io"}
    api.ask("POST", f"{group}/clusterroles", {"metadata": {"name": "firesteel"}, "rules": ROLE})
    for name in ("firesteel", "system:auth-delegator"):
        bound = {
            "metadata": {"name": f"firesteel-{base64.b32encode(name.encode()).decode().strip('=').lower()}"},
            "subjects": [subject],
        }
        api.ask("POST", f"{group}/clusterrolebindings", {**bound, "roleRef": {**role, "name": name}})


def kubeconfig(path: Path, port: int, token: str) -> Path:
    """Writes one for the API server on that port of loopback."""
    path.write_text(f"""
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}]
users: [{{name: test, user: {{token: {token}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
""")
    path.chmod(0o600)
    return path


if __name__ == "__main__":
    build()
