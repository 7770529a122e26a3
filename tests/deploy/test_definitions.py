# SPDX-License-Identifier: Apache-2.0
"""What the chart makes for the Prometheus operator and OpenShift, against their own definitions: no field that these do not know."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # comes with kubernetes_validate, which checks by it
import pytest

from tests.deploy import manifests
from tests.deploy.definitions import KINDS, definitions
from tests.deploy.manifests import FILES, ROOT
from tests.deploy.served import Object

# Both modules are fetched where Go does not have them yet.
pytestmark = pytest.mark.timeout(300)
_EVERYTHING = (
    "names.enabled=true", "monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true", "openshift.scc.create=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def schemas() -> dict[str, Object]:
    """By kind, of each the one version that is served; closed."""
    found = {}
    for definition in definitions():
        (version,) = [one for one in definition["spec"]["versions"] if one["served"]]
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"]["metadata"] = {"type": "object"}
        found[definition["spec"]["names"]["kind"]] = closed(schema)
    assert found.keys() == KINDS
    return found


def closed(schema: Object) -> Object:
    """As a server with strict validation takes it: of an object that has named properties, no other."""
    made = {
        name: closed(value) if isinstance(value, dict) else value
        for name, value in schema.items()
        if name != "properties"
    }
    if "pattern" in schema:
        made["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^")  # where Python wants what Go takes anywhere
    if "properties" in schema:
        made["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def everything() -> list[Object]:
    helm = os.environ.get("FIRESTEEL_HELM") or str(ROOT / "build" / "bin" / "helm")
    if not Path(helm).exists():
        pytest.skip("no helm: make helm")
    told = subprocess.run(
        [helm, "template", "firesteel", str(ROOT / "deploy/helm/firesteel"), "--namespace", "firesteel", "--kube-version", "1.37.0",
         *(part for setting in _EVERYTHING for part in ("--set", setting))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return manifests.objects_of(told.stdout)


def held(objects: list[Object], schemas: dict[str, Object]) -> Counter[str]:
    """How many of each kind were held against their definition. jsonschema.ValidationError names the first that is not as it says."""
    ours = [item for item in objects if item["kind"] in schemas]
    for item in ours:
        jsonschema.Draft202012Validator(schemas[item["kind"]]).validate(item)
    return Counter(item["kind"] for item in ours)


def test_the_chart_says_nothing_that_they_do_not_know(everything: list[Object], schemas: dict[str, Object]) -> None:
    assert held(everything, schemas).keys() == KINDS


def test_the_committed_files_do_neither(schemas: dict[str, Object]) -> None:
    found = sum((held(manifests.manifest(name), schemas) for name in FILES), Counter[str]())
    assert found == {"PodMonitor": 2, "SecurityContextConstraints": 1}


@pytest.mark.parametrize(
    ("kind", "place", "name"),
    [
        ("PodMonitor", ("spec",), "podMetricsEndpoint"),
        ("ServiceMonitor", ("spec", "endpoints", 0), "intervall"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0), "for_"),
        ("SecurityContextConstraints", (), "allowHostPIDs"),
    ],
)
def test_a_field_that_they_do_not_know_is_found(
    kind: str, place: tuple[str | int, ...], name: str, everything: list[Object], schemas: dict[str, Object]
) -> None:
    item = manifests.of_kind(everything, kind)[0]
    inner = item
    for word in place:
        inner = inner[word]  # type: ignore[index]
    inner[name] = "x"
    try:
        with pytest.raises(jsonschema.ValidationError, match=name):
            held([item], schemas)
    finally:
        del inner[name]
