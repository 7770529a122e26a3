# SPDX-License-Identifier: Apache-2.0
"""`kubectl firesteel bundle`: everything that helps is in it, and no secret, wherever somebody wrote one."""

import json
import tarfile
from collections.abc import Mapping

import pytest

from deploy.kubectl.kubectl_firesteel.blanking import blanked, cleaned
from tests.agents import Agent
from tests.deploy.fake_cluster import Wrong
from tests.deploy.plugged import Plugin, a_plugin, an_agent  # noqa: F401 - fixtures
from tests.deploy.served import Object

_TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzZWNyZXQifQ.c2lnbmF0dXJl"
_SECRETS = ("hunter2", "tops3cret", "v4riable", _TOKEN)
_CONFIGURATION = """\
# was https://bob:hunter2@collector:4318
export:
  otlp:
    endpoint: "https://collector:4318"
    headers:
      x-api: tops3cret

      x-other: tops3cret
    timeout: 5s
"""


def contents_of(plugin: Plugin, name: str) -> dict[str, str]:
    with tarfile.open(plugin.folder / name) as archive:
        return {
            member.name.partition("/")[2]: stream.read().decode()
            for member in archive
            if (stream := archive.extractfile(member)) is not None
        }


def fill_with_secrets(plugin: Plugin) -> None:
    """In the configuration, in variables of the agents' containers, in logs, and in a Secret."""
    cluster = plugin.cluster
    cluster.store["configmaps", "firesteel", "firesteel"]["data"]["firesteel.yaml"] += _CONFIGURATION
    variables = [
        {"name": "API_TOKEN", "value": "v4riable"},
        {"name": "SSH_AGENT", "value": "v4riable"},
        {"name": "FIRESTEEL_LOG__LEVEL", "value": "debug"},
    ]
    (daemonset,) = cluster.of("daemonsets")
    for spec in (daemonset["spec"]["template"]["spec"], *(pod["spec"] for pod in cluster.of("pods"))):
        spec["containers"] = [{**item, "env": [*item["env"], *variables]} for item in spec["containers"]]
    for key in [key for key in cluster.store if key[0] == "pods"]:
        cluster.logs[key] = f"sent Authorization: Bearer {_TOKEN}\npassword=hunter2 token {_TOKEN}\nkept line\n"
    cluster.put({"kind": "Secret", "metadata": {"name": "s", "namespace": "firesteel"}, "data": {"x": "hunter2"}}, "secrets")  # fmt: skip


def test_a_bundle_has_no_secret(plugin: Plugin, agent: Agent) -> None:
    plugin("install")
    fill_with_secrets(plugin)
    labels = {"app.kubernetes.io/name": "firesteel", "app.kubernetes.io/component": "names"}
    metadata = {"name": "firesteel-names-x", "namespace": "firesteel", "labels": labels}
    plugin.cluster.put({"metadata": metadata, "spec": {"containers": []}}, "pods")
    plugin.cluster.logs["pods", "firesteel", "firesteel-names-x"] = "password=hunter2\nwatches\n"
    told = plugin("bundle", "--output", "out.tar.gz")
    assert told.returncode == 0, told.stderr
    assert oct((plugin.folder / "out.tar.gz").stat().st_mode & 0o777) == "0o600"
    contents = contents_of(plugin, "out.tar.gz")
    assert [(name, word) for name, text in contents.items() for word in _SECRETS if word in text] == []
    assert {
        "version.json",
        "nodes.json",
        "pods.json",
        "objects/DaemonSet.json",
        "agents/a/status.json",
        "agents/b/log.txt",
    } <= set(contents)
    assert "kept line" in contents["agents/a/log.txt"]
    assert contents["names/firesteel-names-x/log.txt"] == "password=(blanked)\nwatches\n"
    assert "timeout: 5s" in contents["objects/ConfigMap.json"]
    assert json.loads(contents["agents/a/status.json"])["driver"]["name"] == "none"
    for node in ("a", "b"):
        values = json.loads(contents[f"agents/{node}/configuration.json"])["values"]
        assert values["export.otlp.endpoint"] == '"https://collector:4318"'
        assert (values["export.otlp.headers"], values["export.otlp.timeout"]) == ("(blanked)", "5s")
    (pod, *_) = json.loads(contents["pods.json"])
    shown = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
    assert (shown["API_TOKEN"], shown["SSH_AGENT"]) == ("(blanked)", "(blanked)")
    assert (shown["FIRESTEEL_LOG__LEVEL"], shown["FIRESTEEL_DRIVER"]) == ("debug", "[core, none]")
    assert not [path for _, path in plugin.cluster.requests if "secrets" in path]
    assert plugin("bundle", "--output", "out.tar.gz").returncode == 2
    nowhere = plugin("bundle", "--output", "nowhere/out.tar.gz")
    assert (nowhere.returncode, nowhere.stderr) == (2, "kubectl firesteel: nowhere/out.tar.gz: No such file or directory\n")  # fmt: skip


def nowhere(plugin: Plugin) -> str:
    """A kubeconfig of a cluster where nobody listens."""
    file = plugin.folder / "nowhere"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c"}}
    file.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "current-context": "c"}))
    return str(file)


@pytest.mark.parametrize("command", ["bundle", "status", "check", "install"])
def test_a_cluster_that_cannot_be_reached_is_no_success(plugin: Plugin, command: str) -> None:
    told = plugin(command, "--kubeconfig", nowhere(plugin))
    assert (told.returncode, told.stdout) == (3, "")
    assert told.stderr.startswith("kubectl firesteel: the API server cannot be reached: dial tcp 127.0.0.1:1: ")
    assert told.stderr.endswith("; choose a cluster with --context or --kubeconfig\n")
    assert not list(plugin.folder.glob("*.tar.gz"))


def test_a_bundle_of_what_may_not_be_read_is_none(plugin: Plugin) -> None:
    plugin.cluster.token = "another"
    told = plugin("bundle")
    assert told.returncode == 3, told.stdout
    assert not list(plugin.folder.glob("*.tar.gz"))


def test_a_bundle_names_what_could_not_be_read(plugin: Plugin, agent: Agent) -> None:
    plugin("install")
    assert len(plugin("bundle", "--output", "whole.tar.gz").stdout.splitlines()) == 1
    cluster = plugin.cluster
    answer = cluster.answer

    def forbidding(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        if path.endswith(("/nodes", "/events", "firesteel-core-b/log")):
            raise Wrong(403, "Forbidden", "User ada cannot list that")
        return answer(method, path, query, body)

    cluster.answer = forbidding  # type: ignore[method-assign]
    told = plugin("bundle", "--output", "part.tar.gz")
    assert told.returncode == 0, told.stderr
    reason = "not read, and the reason is in their place: nodes.json, events.json, agents/b/log.txt"
    assert told.stdout.splitlines()[1:] == [reason]
    assert contents_of(plugin, "part.tar.gz")["nodes.json"] == "User ada cannot list that"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("export: {otlp: {headers: {x-api: tops3cret}, timeout: 5s}}\nkept: 1\n", "export: {otlp: {headers: (blanked)\nkept: 1\n"),
        ('"headers": {\n"x": "tops3cret"\n}\nkept: 1', '"headers": (blanked)\nkept: 1'),
        ("  headers:\n  - a: tops3cret\nkept: 1", "  headers: (blanked)\nkept: 1"),
        ("headers:\n  x: tops3cret", "headers: (blanked)\n"),
        ("a:\n  token: |\n    tops3cret\n  kept: 1", "a:\n  token: (blanked)\n  kept: 1"),
        ('f.yaml:3: export.otlp.headers.x: "tops3cret" is wrong', "f.yaml:3: export.otlp.headers.x: (blanked)\n"),
        ("FIRESTEEL_EXPORT__OTLP__HEADERS={x: tops3cret}", "FIRESTEEL_EXPORT__OTLP__HEADERS= (blanked)\n"),
        ("run --password=hunter2 kept", "run --password=(blanked) kept"),
        ("GET https://bob:hunter2@collector:4318/", "GET https://(blanked)@collector:4318/"),
        ("names_token: /var/run/kept", "names_token: /var/run/kept"),
    ],
)  # fmt: skip
def test_texts(text: str, left: str) -> None:
    assert blanked(text) == left


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"export.otlp.headers": "{x: tops3cret}", "listen.auth": "none"}, {"export.otlp.headers": "(blanked)", "listen.auth": "none"}),
        ({"token": "tops3cret", "secret": "tops3cret"}, {"token": "(blanked)", "secret": "(blanked)"}),
        ({"tokens": ["tops3cret"], "httpHeaders": [{"name": "x", "value": "tops3cret"}]}, {"tokens": ["(blanked)"], "httpHeaders": "(blanked)"}),
        ({"env": [{"name": "ANY", "value": "tops3cret"}]}, {"env": [{"name": "ANY", "value": "(blanked)"}]}),
        (
            {"key": "export.otlp.headers.x", "value": "tops3cret", "message": '"tops3cret" is wrong', "line": 3},
            {"key": "export.otlp.headers.x", "value": "(blanked)", "message": "(blanked)", "line": 3},
        ),
        # Where a secret is, and whether a pod has one, is none.
        ({"secret": {"secretName": "kept"}, "automountServiceAccountToken": False}, {"secret": {"secretName": "kept"}, "automountServiceAccountToken": False}),
        ({"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "kept", "key": "token"}}}]}, {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "kept", "key": "token"}}}]}),
        ({"managedFields": [1], "requests": 7}, {"requests": 7}),
    ],
)  # fmt: skip
def test_objects(value: object, left: object) -> None:
    assert cleaned(value) == left
