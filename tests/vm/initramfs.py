# SPDX-License-Identifier: Apache-2.0
"""The smallest initramfs that reaches the host's file system: init.c, and the modules that it needs, in loading order."""

import lzma
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.vm.kernels import Lacking, Unpacked, need

_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_INIT = Path(__file__).with_name("init.c")
_FILE, _FOLDER = 0o100644, 0o040755


def pack(kernel: Unpacked, folder: Path) -> Path:
    """Writes the archive into `folder` and returns its path."""
    init = folder / "init"
    subprocess.run([need("gcc", "gcc"), "-O2", "-static", "-o", str(init), str(_INIT)], check=True)
    archive = bytearray()
    for name in ("dev", "lower", "kernel", "layer", "root"):
        archive += _entry(name, _FOLDER, b"")
    archive += _entry("init", _FILE | 0o111, init.read_bytes())
    names = []
    for module in _in_loading_order(kernel):
        name = module.name.removesuffix(".xz")
        archive += _entry(name, _FILE, _plain(module))
        names.append(f"/{name}\n")
    archive += _entry("modules", _FILE, "".join(names).encode())
    archive += _entry("TRAILER!!!", 0, b"")
    path = folder / "initramfs"
    path.write_bytes(archive)
    return path


def trees(*folders: tuple[Path, str]) -> Iterator[bytes]:
    """The pieces of an archive of these folders, each with where it is to lie: a machine that has them as its root, in memory."""
    for folder, place in folders:
        if place:
            yield _entry(place, _FOLDER, b"")
        for path in sorted(folder.rglob("*")):
            content = b""
            if path.is_symlink():
                content = str(path.readlink()).encode()
            elif path.is_file():
                content = path.read_bytes()
            yield _entry(str(Path(place) / path.relative_to(folder)), path.lstat().st_mode, content)
    yield _entry("TRAILER!!!", 0, b"")


def _entry(name: str, mode: int, content: bytes) -> bytes:
    """A member in the cpio format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _plain(module: Path) -> bytes:
    data = module.read_bytes()
    if module.suffix == ".ko":
        return data
    if module.suffix == ".xz":
        return lzma.decompress(data)
    raise Lacking(f"no kernel that can be used: {module.name} is packed in a way that is not known here")


def _in_loading_order(kernel: Unpacked) -> Iterator[Path]:
    """Dependencies first. What is built into the kernel is in no file."""
    needed: dict[str, list[str]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        needed[_name(path)] = [path, *dependencies.split()]
    done: set[str] = set()
    for wanted in _MODULES:
        # modules.dep has all of them, the deepest last.
        for path in reversed(needed.get(wanted, [])):
            if path not in done:
                done.add(path)
                yield kernel.modules / path


def _name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")
