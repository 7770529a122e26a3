# SPDX-License-Identifier: Apache-2.0
"""`kubectl firesteel` as one file, and as an archive with the manifest that krew wants; the same bytes from the same sources.

package-kubectl-plugin.py FOLDER [URI]: kubectl-firesteel (put it on the PATH), firesteel-VERSION.tar.gz, firesteel.yaml. URI is where the
archive will be downloaded from.
"""

import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "deploy" / "kubectl" / "kubectl_firesteel"
_START: Final = SOURCES.parent / "kubectl-firesteel"
_TIME: Final = (2024, 1, 1, 0, 0, 0)
_MANIFEST: Final = """\
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: firesteel
spec:
  version: v{version}
  shortDescription: Install Firesteel and look at it
  description: |
    Requests and topology of every node, taken from its kernel: install, check, status, top, explain, bundle, upgrade,
    uninstall. Needs Python 3.10 or later.
  platforms:
    - selector: {{matchExpressions: [{{key: os, operator: In, values: [linux, darwin]}}]}}
      uri: {uri}
      sha256: {digest}
      bin: kubectl-firesteel
"""


def main(folder: Path, uri: str) -> None:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    version = found[1]
    program = one_file()
    folder.mkdir(parents=True, exist_ok=True)
    archive = packed({"kubectl-firesteel": (program, 0o755), "LICENSE": ((ROOT / "LICENSE").read_bytes(), 0o644)})
    (folder / "kubectl-firesteel").write_bytes(program)
    (folder / "kubectl-firesteel").chmod(0o755)
    name = f"firesteel-{version}.tar.gz"
    (folder / name).write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    manifest = _MANIFEST.format(version=version, uri=json.dumps(uri or name), digest=digest)
    (folder / "firesteel.yaml").write_text(manifest)
    print(f"{folder}/kubectl-firesteel: {len(program)} bytes; {folder}/{name}: SHA-256 {digest}")


def one_file() -> bytes:
    """A zip that Python runs (zipapp), with the line that starts it in front."""
    buffer = io.BytesIO(b"#!/usr/bin/env python3\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        files = {f"kubectl_firesteel/{path.name}": path.read_bytes() for path in SOURCES.iterdir() if path.is_file()}
        for name, content in sorted({**files, "__main__.py": _START.read_bytes()}.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def packed(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for name, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
