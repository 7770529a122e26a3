# SPDX-License-Identifier: Apache-2.0
"""Plain manifests out of the chart: deploy/manifests/*.yaml, and the objects that `kubectl firesteel` brings along.

One row of MANIFESTS is one file. --check changes nothing and fails if a file is not what the chart says. Helm is the one
of `make helm` (build/bin/helm), or the one that FIRESTEEL_HELM names.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "deploy" / "helm" / "firesteel"
OLDEST: Final = "1.25.0"
NEWEST: Final = "1.37.0"
_PLUGIN: Final = Path("deploy/kubectl/kubectl_firesteel/objects.json")
_ALL: Final = ("profiles.bcc.enabled=true", "profiles.kmod.enabled=true", "profiles.none.enabled=true")
# Helm would make another certificate each time; here somebody else does.
_NAMES_TLS: Final = "names.tls.secretName=firesteel-names-tls"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`settings` are --set arguments, `files` of the chart's folder; `version` is the cluster's."""

    name: str
    what: str
    settings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    version: str = NEWEST


MANIFESTS: Final = (
    Manifest("firesteel", "The agent on every node of profile core: Linux 5.8 and later with BTF. Kubernetes 1.30 and later."),
    Manifest("firesteel-before-1.30", "The same for Kubernetes 1.25 to 1.29.", version=OLDEST),
    Manifest(
        "firesteel-all-profiles", "Also profiles bcc, kmod and none, for nodes that are labelled firesteel/profile.", _ALL
    ),
    Manifest("firesteel-large-cluster", "With the names service, for clusters of more than 100 nodes; docs/kubernetes.md says how to make its certificate.", ("names.enabled=true", _NAMES_TLS)),
    Manifest(
        "firesteel-prometheus-operator",
        "With a PodMonitor; the chart also brings rules and dashboards.",
        ("monitoring.podMonitor.enabled=true",),
    ),
    Manifest("firesteel-openshift", "For OpenShift, with SecurityContextConstraints.", files=("values-openshift.yaml",)),
    Manifest("firesteel-bottlerocket", "For Bottlerocket.", files=("values-bottlerocket.yaml",)),
)  # fmt: skip


class Failed(Exception):
    """Helm is not there or did not take the chart; the text says which."""


def helm() -> str:
    """The path of the program; raises Failed."""
    path = os.environ.get("FIRESTEEL_HELM") or str(ROOT / "build" / "bin" / "helm")
    if not Path(path).exists():
        raise Failed(f"no {path}: make helm, or FIRESTEEL_HELM=/path/to/helm")
    return path


def rendered(manifest: Manifest) -> str:
    """The chart's output, without what only Helm's own bookkeeping needs."""
    command = [
        helm(),
        "template",
        "firesteel",
        str(CHART),
        "--namespace",
        "firesteel",
        "--kube-version",
        manifest.version,
    ]
    for file in manifest.files:
        command += ["--values", str(CHART / file)]
    for setting in ("namespace.create=true", *manifest.settings):
        command += ["--set", setting]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if ended.returncode:
        raise Failed(ended.stderr.strip())
    text = re.sub(r"^(# Source: .*| *helm\.sh/chart: .*)\n", "", ended.stdout, flags=re.MULTILINE)
    text = text.replace("managed-by: Helm", "managed-by: kubectl")
    return re.sub(r"^ +$", "", text, flags=re.MULTILINE)


def files() -> Iterator[tuple[Path, str]]:
    """Path below the repository -> text."""
    for manifest in MANIFESTS:
        head = f"# SPDX-License-Identifier: Apache-2.0\n# {manifest.what}\n# Made by make manifests from deploy/helm/firesteel. Do not edit.\n"
        yield Path("deploy/manifests") / f"{manifest.name}.yaml", head + rendered(manifest)
    everything = Manifest("plugin", "", (*_ALL, "names.enabled=true", _NAMES_TLS))
    yield _PLUGIN, plugin_objects(list(yaml.safe_load_all(rendered(everything))))


def plugin_objects(objects: Sequence[Mapping[str, object] | None]) -> str:
    """For kubectl's plugin, whose Python has no YAML."""
    return json.dumps([item for item in objects if item], indent=1) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/render-manifests.py")
    parser.add_argument("--check", action="store_true")
    wished = parser.parse_args(arguments)
    try:
        stale = [(path, text) for path, text in files() if _differs(ROOT / path, text)]
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    for path, text in stale:
        if wished.check:
            print(f"{path} is not what the chart says: make manifests", file=sys.stderr)
            continue
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    known = {f"{manifest.name}.yaml" for manifest in MANIFESTS}
    orphans = [path for path in (ROOT / "deploy" / "manifests").glob("*.yaml") if path.name not in known]
    for path in orphans:
        print(f"{path.relative_to(ROOT)} is made by no row of MANIFESTS: remove it", file=sys.stderr)
    return 1 if (stale and wished.check) or orphans else 0


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != text


if __name__ == "__main__":
    sys.exit(main())
