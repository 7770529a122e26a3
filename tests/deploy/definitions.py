# SPDX-License-Identifier: Apache-2.0
"""What the Prometheus operator and OpenShift teach an API server: their own CustomResourceDefinitions, out of their Go modules."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.deploy.served import Object
from tests.servers import program

_FILES = {
    "github.com/prometheus-operator/prometheus-operator@v0.79.2": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "github.com/openshift/api@v0.0.0-20240124164020-e2ce40831f2e": (
        "security/v1/0000_03_security-openshift_01_scc.crd.yaml",
    ),
}
KINDS = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "SecurityContextConstraints"}


def definitions() -> Iterator[Object]:
    """The module proxy is asked once; the modules' hashes are Go's affair (GOSUMDB)."""
    for module, files in _FILES.items():
        told = subprocess.run(
            [program("go"), "mod", "download", "-json", module], check=False, capture_output=True, text=True, cwd="/"
        )
        assert told.returncode == 0, told.stdout + told.stderr
        folder = Path(json.loads(told.stdout)["Dir"])
        for file in files:
            yield yaml.safe_load((folder / file).read_text())
