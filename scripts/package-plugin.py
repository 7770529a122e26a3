# SPDX-License-Identifier: Apache-2.0
"""Packs the built Grafana plugin: the same bytes whenever the same files go in.

`scripts/package-plugin.py FROM TO` reads the folder FROM (grafana-plugin/dist) and writes into TO the archives
firesteel-topology-panel-VERSION.zip and topo-plugin.tar.gz, which both unpack into Grafana's plugin folder, and prints
their SHA-256.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

PLUGIN: Final = "firesteel-topology-panel"
# The earliest time that a zip archive can hold: when it was built is nobody's business.
ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
MODE: Final = 0o644


def contents(folder: Path) -> list[tuple[str, bytes]]:
    """(name in the archive, bytes) of every file but source maps, in the order of the names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".map")
    return [(f"{PLUGIN}/{path.relative_to(folder).as_posix()}", path.read_bytes()) for path in files]


def zipped(files: list[tuple[str, bytes]]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = MODE << 16
            archive.writestr(info, data)
    return target.getvalue()


def tarred(files: list[tuple[str, bytes]]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), MODE, 0
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 9, mtime=0)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: package-plugin.py FROM TO", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    if not (source / "module.js").exists():
        print(f"{source}/module.js is not there: npm run build in grafana-plugin", file=sys.stderr)
        return 1
    files = contents(source)
    version = json.loads((source / "plugin.json").read_text(encoding="utf-8"))["info"]["version"]
    target.mkdir(parents=True, exist_ok=True)
    for name, data in ((f"{PLUGIN}-{version}.zip", zipped(files)), ("topo-plugin.tar.gz", tarred(files))):
        (target / name).write_bytes(data)
        print(f"{hashlib.sha256(data).hexdigest()}  {target / name}  {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
