# SPDX-License-Identifier: Apache-2.0
"""The certificate of the names service, where nobody else makes one: its own authority, for ten years, in a Secret."""

import base64
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from .kubectl import Kubectl, Object, Refused

SECRET: Final = "firesteel-names-tls"  # noqa: S105 - its name
_REMEDY: Final = f"install openssl, or make the Secret {SECRET} of type kubernetes.io/tls with tls.crt, tls.key and ca.crt yourself (cert-manager does)"


def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{SECRET}"


def ensure(kubectl: Kubectl, namespace: str, *, dry: bool) -> bool:
    """Whether it has to be made, which it then is unless `dry`. One that is there stays as it is."""
    if kubectl.find(path(namespace)) is not None:
        return False
    if dry:
        return True
    kubectl.create(f"/api/v1/namespaces/{namespace}/secrets", secret(namespace))
    return True


def secret(namespace: str) -> Object:
    """Raises Refused where there is no openssl."""
    host = f"firesteel-names.{namespace}.svc"
    with tempfile.TemporaryDirectory() as folder:
        key, cert = Path(folder) / "key", Path(folder) / "cert"
        try:
            ended = subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                 "-subj", "/CN=firesteel-names", "-addext", f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(cert)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise Refused(f"the names service needs a certificate, and there is no openssl here: {_REMEDY}") from None
        if ended.returncode:
            raise Refused(
                f"openssl made no certificate for the names service ({ended.stderr.strip()[-200:]}): {_REMEDY}"
            )
        parts = {"ca.crt": cert, "tls.crt": cert, "tls.key": key}
        data = {name: base64.b64encode(file.read_bytes()).decode() for name, file in parts.items()}
    labels = {"app.kubernetes.io/name": "firesteel", "app.kubernetes.io/managed-by": "kubectl"}
    metadata = {"name": SECRET, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
