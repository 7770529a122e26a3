# SPDX-License-Identifier: Apache-2.0
"""The chart under Helm itself: lint, a matrix of values, what the schema refuses, and that the committed files are its output."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from collector.capabilities import PROFILES
from collector.config import ConfigError, Loaded, Source, load
from collector.schema import KEYS, Config, value_of
from exporters.grafana.__main__ import RULES, files
from scripts.values_schema import OF_AGENTS
from tests.deploy import manifests
from tests.deploy.manifests import ROOT, Object
from tests.servers import program

CHART = ROOT / "deploy" / "helm" / "firesteel"
_OTHERS = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "SecurityContextConstraints"}
_DIGEST = "sha256:" + "a" * 64


@pytest.fixture(scope="session")
def helm() -> str:
    path = os.environ.get("FIRESTEEL_HELM") or str(ROOT / "build" / "bin" / "helm")
    if not Path(path).exists():
        pytest.skip("no helm: make helm")
    return path


def run(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)


def template(
    helm: str, *settings: str, version: str = "1.37.0", release: str = "firesteel", json_values: str = ""
) -> list[Object]:
    command = ["template", release, str(CHART), "--namespace", "firesteel", "--kube-version", version]
    command += [part for setting in settings for part in ("--set", setting)]
    command += ["--set-json", json_values] if json_values else []
    ended = run(helm, *command)
    assert ended.returncode == 0, ended.stderr
    return manifests.objects_of(ended.stdout)


def refused(helm: str, *settings: str) -> str:
    command = ["template", "firesteel", str(CHART), "--kube-version", "1.37.0"]
    ended = run(helm, *command, *(part for setting in settings for part in ("--set", setting)))
    assert ended.returncode != 0
    return ended.stderr


@pytest.mark.parametrize("values", ["values.yaml", "values-openshift.yaml", "values-bottlerocket.yaml"])
def test_lint(helm: str, values: str) -> None:
    ended = run(helm, "lint", str(CHART), "--strict", "--kube-version", "1.37.0", "--values", str(CHART / values))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_committed_manifests_are_the_charts(helm: str) -> None:
    ended = subprocess.run(
        [sys.executable, "scripts/render-manifests.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "FIRESTEEL_HELM": helm},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("version", ["1.25.0", "1.29.0", "1.30.0", "1.37.0"])
@pytest.mark.parametrize("profiles", ["core", "bcc", "kmod", "none", "core+bcc+kmod+none"])
def test_every_profile_on_every_kubernetes(helm: str, profiles: str, version: str, tmp_path: Path) -> None:
    wanted = profiles.split("+")
    settings = [f"profiles.{name}.enabled={str(name in wanted).lower()}" for name in PROFILES]
    objects = template(
        helm,
        *settings,
        "names.enabled=true",
        "monitoring.serviceMonitor.enabled=true",
        "namespace.create=true",
        version=version,
    )
    daemonsets = manifests.of_kind(objects, "DaemonSet")
    assert [manifests.profile_of(d) for d in daemonsets] == sorted(wanted)
    for daemonset in daemonsets:
        added = manifests.agent_of(daemonset)["securityContext"]["capabilities"]
        assert added == {"drop": ["ALL"], "add": list(PROFILES[manifests.profile_of(daemonset)])}
    if len(wanted) > 1 or wanted == ["core"]:  # the schemas take a second each
        for item in objects:
            if item["kind"] not in _OTHERS:
                kubernetes_validate.validate(item, version.removesuffix(".0"), strict=True)
    file = tmp_path / "firesteel.yaml"
    file.write_text(manifests.one(objects, "ConfigMap", "firesteel")["data"]["firesteel.yaml"])
    load(Source(file, True))


@pytest.mark.parametrize(
    ("monitor", "rule", "dashboards", "names", "policy"), list(itertools.product([True, False], repeat=5))
)
def test_parts_come_and_go_on_their_own(
    helm: str, monitor: bool, rule: bool, dashboards: bool, names: bool, policy: bool
) -> None:
    flags = {
        "monitoring.podMonitor.enabled": monitor, "monitoring.prometheusRule.enabled": rule, "dashboards.enabled": dashboards,
        "names.enabled": names, "networkPolicy.enabled": policy,
    }  # fmt: skip
    objects = template(helm, *(f"{key}={str(value).lower()}" for key, value in flags.items()))
    kinds = [item["kind"] for item in objects]
    assert kinds.count("PodMonitor") == monitor * (1 + names)
    assert kinds.count("PrometheusRule") == rule
    assert kinds.count("Deployment") == kinds.count("PodDisruptionBudget") == names
    assert kinds.count("NetworkPolicy") == policy * (1 + names)
    assert kinds.count("ConfigMap") == 1 + names + 7 * dashboards
    (daemonset,) = manifests.of_kind(objects, "DaemonSet")
    notes = daemonset["spec"]["template"]["metadata"]["annotations"]
    assert ("prometheus.io/scrape" in notes) is not monitor


def test_dashboards_and_rules_are_those_of_the_repository(helm: str) -> None:
    objects = template(helm, "dashboards.enabled=true", "monitoring.prometheusRule.enabled=true")
    for path in (ROOT / "grafana-plugin" / "dashboards").glob("*.json"):
        name = f"firesteel-dashboard-{path.stem.removeprefix('firesteel-')}"
        found = manifests.one(objects, "ConfigMap", name)
        assert json.loads(found["data"][path.name]) == json.loads(path.read_text())
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    (rule,) = manifests.of_kind(objects, "PrometheusRule")
    (source,) = manifests.objects_of((ROOT / "deploy/prometheus/firesteel-rules.yaml").read_text())
    assert rule["spec"] == source


def test_dashboards_and_rules_have_the_agents_prefix(helm: str) -> None:
    """They are what `python -m exporters.grafana --prefix` writes; of the default's names nothing is left."""
    parts = ("dashboards.enabled=true", "monitoring.prometheusRule.enabled=true")
    objects = template(helm, *parts, "config.metrics.prefix=trial")
    (rule,) = manifests.of_kind(objects, "PrometheusRule")
    boards = [
        item["data"] for item in manifests.of_kind(objects, "ConfigMap") if "-dashboard-" in item["metadata"]["name"]
    ]
    found = {name: json.loads(text) for data in boards for name, text in data.items()}
    wanted = files("trial")
    assert rule["spec"] == yaml.safe_load(wanted.pop(RULES))
    assert found == {path.name: json.loads(text) for path, text in wanted.items()}
    told = json.dumps([rule, found])
    assert "kindling" not in told
    assert "trial_entity_request_total" in told


def test_images_of_a_cluster_without_internet_access(helm: str) -> None:
    profiles = [f"profiles.{name}.enabled=true" for name in PROFILES]
    objects = template(
        helm, *profiles, "names.enabled=true", "global.imageRegistry=registry.example.com/mirror/",
        "global.imagePullSecrets={first,second}",
    )  # fmt: skip
    images = {w["metadata"]["name"]: c["image"] for w, c in manifests.containers(objects)}
    plain = "registry.example.com/mirror/firesteel:0.1.0"
    assert images == {
        "firesteel-core": plain, "firesteel-bcc": f"{plain}-full", "firesteel-kmod": plain, "firesteel-none": plain,
        "firesteel-names": plain,
    }  # fmt: skip
    for workload, _ in manifests.containers(objects):
        assert manifests.pod_of(workload)["imagePullSecrets"] == [{"name": "first"}, {"name": "second"}]
    pinned = template(helm, *profiles, f"image.digest={_DIGEST}", f"profiles.bcc.image.digest={_DIGEST[:-1]}b")
    images = {w["metadata"]["name"]: c["image"] for w, c in manifests.containers(pinned)}
    assert images["firesteel-core"] == f"firesteel@{_DIGEST}"
    assert images["firesteel-bcc"] == f"firesteel@{_DIGEST[:-1]}b"
    # A digest of the small image is not the other's.
    half = template(helm, *profiles, f"image.digest={_DIGEST}")
    assert {c["image"] for w, c in manifests.containers(half) if w["metadata"]["name"] == "firesteel-bcc"} == {
        "firesteel:0.1.0-full"
    }


def test_a_changed_configuration_changes_the_pods(helm: str) -> None:
    sums = set()
    for settings in ((), ("config.log.level=debug",), ("metricsPort=9600",)):
        (daemonset,) = manifests.of_kind(template(helm, *settings), "DaemonSet")
        sums.add(daemonset["spec"]["template"]["metadata"]["annotations"]["firesteel/config-checksum"])
        assert manifests.agent_of(daemonset)["ports"][0]["hostPort"] == (
            9600 if "metricsPort=9600" in settings else 9500
        )
    assert len(sums) == 3


def test_asking_whose_a_token_is_takes_a_binding(helm: str) -> None:
    def bindings(*settings: str) -> list[str]:
        return [item["roleRef"]["name"] for item in manifests.of_kind(template(helm, *settings), "ClusterRoleBinding")]

    assert bindings() == ["firesteel"]
    assert bindings("config.listen.metrics_auth=kubernetes") == ["firesteel", "system:auth-delegator"]
    assert bindings("rbac.create=false") == []


def test_tls_changes_probes_and_scrapes(helm: str) -> None:
    objects = template(
        helm,
        "config.listen.tls.cert=/tls/tls.crt",
        "config.listen.tls.key=/tls/tls.key",
        "monitoring.podMonitor.enabled=true",
    )
    (daemonset,) = manifests.of_kind(objects, "DaemonSet")
    agent = manifests.agent_of(daemonset)
    assert {agent[f"{probe}Probe"]["httpGet"]["scheme"] for probe in ("liveness", "readiness")} == {"HTTPS"}
    (monitor,) = manifests.of_kind(objects, "PodMonitor")
    assert monitor["spec"]["podMetricsEndpoints"][0]["scheme"] == "https"


def settings_of(objects: list[Object], folder: Path) -> Loaded:
    """What the agents of a rendered chart read. Raises ConfigError for what they would refuse."""
    file = folder / "firesteel.yaml"
    file.write_text(manifests.one(objects, "ConfigMap", "firesteel")["data"]["firesteel.yaml"])
    return load(Source(file, True))


@pytest.mark.parametrize("monitor", ["podMonitor", "serviceMonitor", ""])
def test_agents_know_how_often_they_are_scraped(helm: str, monitor: str, tmp_path: Path) -> None:
    """A monitor's interval is theirs: a new counter shows 0 for so long, and a slower Prometheus would not see it."""

    def told(*settings: str) -> tuple[str, float]:
        enabled = [f"monitoring.{monitor}.enabled=true"] if monitor else []
        objects = template(helm, *enabled, *settings)
        of_monitor = ""
        for item in objects:
            if item["kind"] in {"PodMonitor", "ServiceMonitor"}:
                (endpoint,) = item["spec"].get("podMetricsEndpoints") or item["spec"]["endpoints"]
                of_monitor = endpoint["interval"]
        return of_monitor, settings_of(objects, tmp_path).config.metrics.scrape_interval / 1e9

    def shown(interval: str) -> str:
        return interval if monitor else ""

    assert told() == (shown("30s"), 30)
    assert told("monitoring.interval=60s") == (shown("60s"), 60)
    assert told("monitoring.interval=100ms") == (shown("100ms"), 0.1)
    assert told("monitoring.interval=5m", "config.metrics.prefix=trial") == (shown("5m"), 300)
    assert told("monitoring.endpoint.interval=1m30s") == (shown("1m30s"), 90)
    assert told("monitoring.interval=60s", "config.metrics.scrape_interval=15s") == (shown("60s"), 15)
    longer = ("config.metrics.ttl.gauge=1.5h", "config.metrics.ttl.counter=1h60m")
    assert told("monitoring.interval=1h", *longer) == (shown("1h"), 3600)
    # Variables go before the file, so here the chart does not know better.
    variable = ("extraEnv[0].name=FIRESTEEL_METRICS__TTL__GAUGE", "extraEnv[0].value=2h")
    assert template(helm, "monitoring.interval=1h", *variable)


def test_the_usual_interval_is_the_agents_own(helm: str) -> None:
    """So the configuration does not name it. And lives that the chart takes for theirs are."""
    assert "metrics" not in yaml.safe_load(
        manifests.one(template(helm), "ConfigMap", "firesteel")["data"]["firesteel.yaml"]
    )
    metrics = Config().metrics
    assert (metrics.scrape_interval, metrics.ttl.gauge, metrics.ttl.counter) == (30 * 10**9, 300 * 10**9, 3600 * 10**9)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["monitoring.interval=0s"], "monitoring.interval is 0s, which agents do not take"),
        (["monitoring.interval=99ms"], "monitoring.interval is 99ms, which agents do not take"),
        (["monitoring.interval=61m"], "which agents do not take as metrics.scrape_interval (100ms to 1h)"),
        (["monitoring.endpoint.interval=1w"], "monitoring.interval is 1w, which agents do not take"),
        (["monitoring.interval=301s"], "config.metrics.ttl.gauge has to be at least that"),
        (["monitoring.interval=31m", "config.metrics.ttl.gauge=1h"], "and config.metrics.ttl.counter twice that (1h)"),
        (
            ["monitoring.interval=1m", "config.metrics.ttl.gauge=59s"],
            "config.metrics.ttl.gauge has to be at least that",
        ),
    ],
)
def test_an_interval_that_agents_would_refuse_is_refused(
    helm: str, settings: list[str], why: str, tmp_path: Path
) -> None:
    assert why in refused(helm, *settings)
    own = template(helm, *settings, "config.metrics.scrape_interval=10s")
    assert settings_of(own, tmp_path).config.metrics.scrape_interval == 10 * 10**9


def test_the_notes_name_what_was_set(helm: str, tmp_path: Path) -> None:
    """Helm shows them after an installation only: here they are a ConfigMap of a copy."""
    chart = tmp_path / "firesteel"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "shown.yaml").write_text(
        "kind: ConfigMap\nnotes: {{ include (print .Template.BasePath `/NOTES.txt`) . | toJson }}\n"
    )

    def notes(*settings: str) -> str:
        options = [part for setting in settings for part in ("--set", setting)]
        command = ["template", "firesteel", str(chart), "--kube-version", "1.37.0", "-s", "templates/shown.yaml"]
        return str(yaml.safe_load(run(helm, *command, *options).stdout)["notes"])

    usual, other = notes(), notes("config.listen.api=127.0.0.1:9601", "monitoring.interval=60s")
    assert "ds/firesteel-core 9501   # then http://127.0.0.1:9501/\n\nPrometheus: " in usual
    assert "If it scrapes less often than every 30s, " in usual
    assert "ds/firesteel-core 9601   # then http://127.0.0.1:9601/\n" in other
    assert "If it scrapes less often than every 60s, " in other
    assert "port-forward" not in notes("config.listen.api=off")


@pytest.mark.parametrize(("kind", "value"), [("PodMonitor", "podMonitor"), ("ServiceMonitor", "serviceMonitor")])
def test_an_endpoints_field_takes_the_place_of_ours(helm: str, kind: str, value: str) -> None:
    ours = {"port": "metrics", "path": "/metrics", "interval": "30s", "scheme": "http", "honorLabels": True}
    fields = {"scheme": "https", "honorLabels": False, "tlsConfig": {"serverName": "agent"}}
    for told in ({}, fields):
        values = f"monitoring={json.dumps({value: {'enabled': True}, 'endpoint': told})}"
        command = ["template", "firesteel", str(CHART), "--kube-version", "1.37.0", "--set-json", values]
        ended = run(helm, *command)
        assert ended.returncode == 0, ended.stderr
        (text,) = (part for part in ended.stdout.split("\n---\n") if f"kind: {kind}\n" in part)
        # A key that is there twice is taken by PyYAML, but not by the API server.
        assert text.count("scheme:") == text.count("honorLabels:") == 1
        monitor = manifests.one(manifests.objects_of(ended.stdout), kind, "firesteel")["spec"]
        (endpoint,) = monitor["podMetricsEndpoints" if kind == "PodMonitor" else "endpoints"]
        assert endpoint == {**ours, **told}


@pytest.mark.parametrize(("kind", "value"), [("PodMonitor", "podMonitor"), ("ServiceMonitor", "serviceMonitor")])
def test_the_names_service_is_scraped_by_its_certificates_name(helm: str, kind: str, value: str) -> None:
    objects = template(
        helm, "names.enabled=true", f"monitoring.{value}.enabled=true", "monitoring.endpoint.authorization.type=Bearer",
        "monitoring.namesEndpoint.authorization.type=Other",
    )  # fmt: skip
    secret, service = (
        manifests.one(objects, kind, f"firesteel-names{suffix}")
        for kind, suffix in (("Secret", "-tls"), ("Service", ""))
    )
    monitor = manifests.one(objects, kind, "firesteel-names")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (deployment,) = manifests.of_kind(objects, "Deployment")
    selected = [
        w for w, _ in manifests.containers(objects) if wanted <= w["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert selected == [deployment]
    assert wanted <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints" if kind == "PodMonitor" else "endpoints"]
    ports = service["spec"]["ports"] if kind == "ServiceMonitor" else manifests.agent_of(deployment)["ports"]
    assert endpoint["port"] in {port["name"] for port in ports}
    assert endpoint["scheme"] == "https"
    authority = endpoint["tlsConfig"]["ca"]["secret"]
    assert authority["name"] == secret["metadata"]["name"]
    assert authority["key"] in secret["data"]
    assert endpoint["tlsConfig"]["serverName"] == "firesteel-names.firesteel.svc"
    assert endpoint["authorization"] == {"type": "Other"}
    assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "30s")
    of_agents = manifests.one(objects, kind, "firesteel")["spec"]
    (endpoint,) = of_agents["podMetricsEndpoints" if kind == "PodMonitor" else "endpoints"]
    assert endpoint["authorization"] == {"type": "Bearer"}


def test_helm_makes_a_certificate_for_the_names_service(helm: str, tmp_path: Path) -> None:
    objects = template(helm, "names.enabled=true", release="blue")
    secret = manifests.one(objects, "Secret", "blue-firesteel-names-tls")
    for name in ("ca.crt", "tls.crt"):
        (tmp_path / name).write_bytes(base64.b64decode(secret["data"][name]))
    told = subprocess.run(
        [program("openssl"), "verify", "-CAfile", "ca.crt", "-verify_hostname", "blue-firesteel-names.firesteel.svc", "tls.crt"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "Secret" not in [item["kind"] for item in template(helm, "names.enabled=true", "names.tls.secretName=mine")]


def test_two_releases_share_nothing(helm: str) -> None:
    everything = ("names.enabled=true", "monitoring.serviceMonitor.enabled=true", "profiles.none.enabled=true")
    first, second = (
        {(item["kind"], item["metadata"]["name"]) for item in template(helm, *everything, release=release)}
        for release in ("firesteel", "blue")
    )
    assert len(first) == len(second)
    assert not first & second


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("profiles.ebpf.enabled=true", "ebpf"),
        ("profiles.core.driver={kprobe}", "profiles.core.driver.0"),
        ("metricsPort=0", "metricsPort"),
        ("image.digest=sha256:12", "image.digest"),
        ("appArmor=off", "appArmor"),
        ("tolerration=x", "tolerration"),
        ("enabled=sometimes", "- enabled: Invalid type"),
        ("config.listen.metrics=:9600", "config.listen: Additional property metrics is not allowed"),
        ("config.driver=core", "config: Additional property driver is not allowed"),
        ("config.ring.sise=8MiB", "config.ring: Additional property sise is not allowed"),
        ("config.ring.size=8MB", "config.ring.size: Does not match pattern"),
        ("config.export.otlp.tls.cacert=/x", "config.export.otlp.tls: Additional property cacert is not allowed"),
        ("config.log.level=loud", "config.log.level must be one of the following"),
        ("config.protocols.ports.http=http", 'Property name of "http" does not match'),
        ("networkPolicy.nodes={node-a}", "networkPolicy.nodes.0: Does not match pattern"),
        ("names.config.ring.sise=8MiB", "names.config.ring: Additional property sise is not allowed"),
        ("names.seLinuxOptions.typ=container_t", "typ"),
        ("names.config.listen.names=:9600", "names.config.listen: Additional property names is not allowed"),
    ],
)
def test_the_schema_refuses(helm: str, setting: str, names: str) -> None:
    assert names in refused(helm, setting)


@pytest.mark.parametrize(
    ("settings", "told", "config"),
    [
        (["config.ring.size=3MiB"], "config.ring.size: Does not match pattern", ["ring.size=3MiB"]),
        (["config.ring.size=2KiB"], "config.ring.size: Does not match pattern", ["ring.size=2KiB"]),
        (
            ["config.listen.api=0.0.0.0:9501"],
            "config.listen.api: 0.0.0.0:9501 can be reached from other machines, and config.listen.auth is none",
            ["listen.api=0.0.0.0:9501"],
        ),
        (["config.listen.api=:9501"], "config.listen.api: :9501 can be reached", ["listen.api=:9501"]),
        (["config.listen.api=[::]:9501"], "config.listen.api: [::]:9501 can be", ["listen.api=[::]:9501"]),
        (
            ["metricsPort=9501"],
            "config.listen.api: 127.0.0.1:9501 has the port of metricsPort (9501): take two different ports",
            ["listen.metrics=:9501"],
        ),
        (
            ["config.listen.api=localhost:9500"],
            "config.listen.api: localhost:9500 has the port of metricsPort (9500)",
            ["listen.metrics=:9500", "listen.api=localhost:9500"],
        ),
        (["config.listen.tls.cert=/a"], "config.listen.tls: a certificate needs its key", ["listen.tls.cert=/a"]),
        (["config.listen.tls.key=/a"], "config.listen.tls: a certificate needs its key", ["listen.tls.key=/a"]),
    ],
)
def test_what_the_agent_would_refuse_is_not_rendered(
    helm: str, settings: list[str], told: str, config: list[str]
) -> None:
    """A rollout with it would restart for ever."""
    assert told in refused(helm, *settings)
    with pytest.raises(ConfigError):
        load(Source(None, False, tuple(config)))


@pytest.mark.parametrize(
    "settings",
    [
        ["config.ring.size=8192KiB"],
        ["config.ring.size=1 GiB"],
        ["config.listen.api=off", "metricsPort=9501"],
        ["config.listen.api=0.0.0.0:9501", "config.listen.auth=kubernetes"],
        ["config.listen.api=[::1]:9501"],
        ["config.listen.api=127.0.0.2:9501"],
        # A variable goes before the file.
        ["config.listen.api=0.0.0.0:9501", "extraEnv[0].name=FIRESTEEL_LISTEN__AUTH", "extraEnv[0].value=/run/token"],
    ],
)
def test_what_the_agent_takes_is_rendered(helm: str, settings: list[str], tmp_path: Path) -> None:
    objects = template(helm, *settings)
    file = tmp_path / "firesteel.yaml"
    file.write_text(manifests.one(objects, "ConfigMap", "firesteel")["data"]["firesteel.yaml"])
    (daemonset,) = manifests.of_kind(objects, "DaemonSet")
    told = manifests.agent_of(daemonset)["env"]
    variables = tuple((item["name"], item["value"]) for item in told if item["name"].startswith("FIRESTEEL_LISTEN"))
    load(Source(file, True, environment=variables))


def test_every_key_goes_through_helm_as_it_is(helm: str, tmp_path: Path) -> None:
    """With its default, and with forms that Helm's own YAML, JSON and expressions could change."""
    special = {
        "protocols.ports": {"8080": "http"}, "listen.api": "off", "kubernetes.enabled": True, "connections.max": 1048576,
        "samples.normal": 0.25, "export.otlp.headers": {"x-token": "t" * 4096}, "metrics.cluster_label": "07",
    }  # fmt: skip
    config: dict[str, Any] = {}
    for row in KEYS:
        if row.path not in OF_AGENTS:
            part = config
            for name in row.path[:-1]:
                part = part.setdefault(name, {})
            part[row.path[-1]] = special.get(row.name, yaml.safe_load(row.default))
    objects = template(helm, json_values=f"config={json.dumps(config)}")
    file = tmp_path / "firesteel.yaml"
    file.write_text(manifests.one(objects, "ConfigMap", "firesteel")["data"]["firesteel.yaml"])
    loaded = load(Source(file, True))
    assert set(loaded.origins) == {row.name for row in KEYS} - {"driver"}
    changed = {row.name for row in KEYS if value_of(loaded.config, row) != value_of(Config(), row)}
    assert changed == {*special, "listen.metrics"}
    assert dict(loaded.config.protocols.ports) == {8080: "http"}
    assert (loaded.config.listen.api, loaded.config.kubernetes.enabled) == (None, "true")
    assert (loaded.config.connections.max, loaded.config.metrics.cluster_label) == (1 << 20, "07")


def test_openshift_lets_the_names_service_in(helm: str) -> None:
    """Its user is out of the range that the platform gives a namespace; all else that it asks for is allowed, and nothing more."""
    objects = template(helm, "openshift.scc.create=true", "names.enabled=true", release="blue")
    (deployment,) = manifests.of_kind(objects, "Deployment")
    pod, container = manifests.pod_of(deployment), manifests.agent_of(deployment)
    found = manifests.one(objects, "SecurityContextConstraints", "blue-firesteel-names")
    assert found["users"] == [f"system:serviceaccount:firesteel:{pod['serviceAccountName']}"]
    assert (found["runAsUser"]["type"], pod["securityContext"]["runAsNonRoot"]) == ("MustRunAsNonRoot", True)
    assert (found["fsGroup"]["type"], pod["securityContext"]["fsGroup"]) == ("RunAsAny", 65532)
    assert (found["seccompProfiles"], pod["securityContext"]["seccompProfile"]["type"]) == (["runtime/default"], "RuntimeDefault")  # fmt: skip
    assert found["requiredDropCapabilities"] == container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert found["readOnlyRootFilesystem"] is container["securityContext"]["readOnlyRootFilesystem"] is True
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= set(found["volumes"]) == {"configMap", "emptyDir", "projected", "secret"}
    assert not {name for name, value in found.items() if name.startswith("allow") and value}
    agents = manifests.one(objects, "SecurityContextConstraints", "blue-firesteel-core")
    assert agents["users"] == ["system:serviceaccount:firesteel:blue-firesteel"]
    assert len(manifests.of_kind(template(helm, "openshift.scc.create=true"), "SecurityContextConstraints")) == 1


@pytest.mark.parametrize(
    ("agents", "names", "allowed"),
    [
        ("system-node-critical", "system-cluster-critical", ["system-node-critical", "system-cluster-critical"]),
        ("mine", "mine", ["mine"]),
        ("mine", "", ["mine"]),
        ("", "", []),
    ],
)
def test_the_quota_allows_the_classes_that_are_asked_for(
    helm: str, agents: str, names: str, allowed: list[str]
) -> None:
    """An empty list of them would be refused by the API server."""
    objects = template(helm, "names.enabled=true", f"priorityClassName={agents}", f"names.priorityClassName={names}")
    asked = {w["kind"]: manifests.pod_of(w).get("priorityClassName", "") for w, _ in manifests.containers(objects)}
    assert asked == {"DaemonSet": agents, "Deployment": names}
    quotas = manifests.of_kind(objects, "ResourceQuota")
    found = [one["values"] for quota in quotas for one in quota["spec"]["scopeSelector"]["matchExpressions"]]
    assert found == ([allowed] if allowed else [])


def test_labels_and_annotations_of_pods_are_those_of_the_names_service_too(helm: str) -> None:
    objects = template(helm, "names.enabled=true", "podLabels.team=a", "podAnnotations.mesh=none")
    for workload, _ in manifests.containers(objects):
        metadata = workload["spec"]["template"]["metadata"]
        assert (metadata["labels"]["team"], metadata["annotations"]["mesh"]) == ("a", "none")


def test_agents_and_the_names_service_have_variables_and_selinux_of_their_own(helm: str) -> None:
    """What agents are allowed and told is not the service's: spc_t is next to no confinement, FIRESTEEL_LISTEN_METRICS another's port."""
    values = {
        prefix: {"extraEnv": [{"name": "FIRESTEEL_LOG__LEVEL", "value": level}], "seLinuxOptions": {"type": kind}}
        for prefix, level, kind in (("agents", "debug", "spc_t"), ("names", "warning", "container_t"))
    }
    settings = ",".join(
        f"{prefix}{name}={json.dumps(value)}"
        for prefix, of in (("", "agents"), ("names.", "names"))
        for name, value in values[of].items()
    )
    objects = template(helm, "names.enabled=true", "openshift.scc.create=true", json_values=settings)
    for workload, container in manifests.containers(objects):
        wanted = values["agents" if workload["kind"] == "DaemonSet" else "names"]
        added = [one for one in container["env"] if one["name"] == "FIRESTEEL_LOG__LEVEL"]
        assert added == wanted["extraEnv"]
        assert manifests.pod_of(workload)["securityContext"]["seLinuxOptions"] == wanted["seLinuxOptions"]
    allowed = manifests.one(objects, "SecurityContextConstraints", "firesteel-names")["seLinuxContext"]
    assert allowed == {"type": "MustRunAs", "seLinuxOptions": {"type": "container_t"}}


def test_dashboards_without_any_label_of_a_sidecar(helm: str) -> None:
    objects = template(helm, "dashboards.enabled=true", "dashboards.labels.grafana_dashboard=null")
    found = [item for item in manifests.of_kind(objects, "ConfigMap") if "-dashboard-" in item["metadata"]["name"]]
    assert len(found) == 7
    assert {"grafana_dashboard" in item["metadata"]["labels"] for item in found} == {False}


def test_a_policy_that_would_let_everybody_in_is_refused(helm: str) -> None:
    """An empty list of sources reads as nobody, and is everybody to Kubernetes."""
    values = 'networkPolicy={"nodes": []}'
    ended = run(helm, "template", "firesteel", str(CHART), "--kube-version", "1.37.0", "--set-json", values)
    assert ended.returncode != 0
    assert "networkPolicy.nodes: Array must have at least 1 items" in ended.stderr


@pytest.mark.parametrize("enabled", [True, False])
def test_a_dependency_of_another_chart(helm: str, enabled: bool, tmp_path: Path) -> None:
    """With the condition that such charts usually have, whose value Helm hands down too."""
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    needed = {"name": about["name"], "version": about["version"], "condition": "firesteel.enabled"}
    outer = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [needed]}
    values = {"global": {"team": "a"}, "firesteel": {"enabled": enabled, "metricsPort": 9600}}
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "firesteel").symlink_to(CHART)
    for name, content in (("Chart.yaml", outer), ("values.yaml", values)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    ended = run(helm, "template", "platform", str(tmp_path), "--kube-version", "1.37.0")
    assert ended.returncode == 0, ended.stderr
    found = manifests.of_kind(manifests.objects_of(ended.stdout), "DaemonSet")
    assert [manifests.agent_of(one)["ports"][0]["hostPort"] for one in found] == ([9600] if enabled else [])
