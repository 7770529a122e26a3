# SPDX-License-Identifier: Apache-2.0
"""Puts the root of the small image together: an interpreter, what the agent needs, the libraries these need, and nothing else.

`python -m deploy.images.assemble FOLDER`, with the environment of `make build`: as a step of the Dockerfile, and as it is in CI. There is no shell and
no package manager in the result. Everything has the time of SOURCE_DATE_EPOCH, so the same build gives the same bytes. What is in
it, is in usr/share/firesteel/sbom.spdx.json, and its licences in usr/share/doc.
"""

import compileall
import importlib.metadata
import os
import py_compile
import re
import shutil
import ssl
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.images import bill, licences

ROOT: Final = Path(__file__).resolve().parents[2]
PREFIX: Final = Path("usr/local")
OURS: Final = ("analyzers", "collector", "exporters", "probes")
_EPOCH: Final = int(os.environ.get("SOURCE_DATE_EPOCH", "1700000000"))

# Distributions of requirements.txt that no process of the agent loads.
BUILD_ONLY: Final = {"setuptools", "pycparser"}
# Below site-packages. rich loads Pygments to show source code, kubernetes' second client is for asyncio.
LEFT_OUT: Final = ("kubernetes/aio", "kubernetes/e2e_test", "kubernetes/test", "pygments")
_STDLIB_LEFT_OUT: Final = {"test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "venv",
                           "site-packages", "dist-packages", "__pycache__", "curses", "dbm"}  # fmt: skip
# Compiled parts of the standard library for terminals, key files and windows, with large libraries behind them.
_DYNLOAD_LEFT_OUT: Final = (
    "_tkinter",
    "_curses",
    "readline",
    "_gdbm",
    "_dbm",
    "nis",
    "ossaudiodev",
    "_test",
    "_xxtest",
)
# Loaded by name at run time, so no program mentions them.
LIBRARIES: Final = ("libseccomp.so.2", "libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2")
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_SOURCE: Final = {".c", ".h", ".sh", ".conf"}
# What building leaves beside sources; of it only what is for this machine, and for the agent, is named one by one.
_BUILT: Final = {".a", ".d", ".new", ".o", ".so", ".tmp"}


def main(out: Path) -> None:
    """`out` must not be there yet."""
    out.mkdir(parents=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib = out / PREFIX / "lib" / version
    packages = out / _packages_place()
    _interpreter(out, version)
    _standard_library(stdlib)
    distributions = list(_distributions())
    for distribution in distributions:
        _install(distribution, packages)
    _our_own(packages)
    _command(out, version)
    _system_files(out)
    _strip(out)
    libraries = _shared_libraries(out)
    _licences(out, stdlib, libraries)
    _compile(out, packages)
    _bill_of_materials(out, distributions, libraries)
    for path in [out, *out.rglob("*")]:
        os.utime(path, (_EPOCH, _EPOCH), follow_symlinks=False)
    size = sum(path.lstat().st_size for path in out.rglob("*") if not path.is_dir())
    print(f"{out}: {size / 1e6:.1f} MB, {len(distributions)} Python packages, {len(libraries)} libraries")


def _packages_place() -> Path:
    """Where this kind of Python looks for packages when it is at /usr/local, outside of an environment: Debian's says dist-packages."""
    question = f"import site; print(*site.getsitepackages(['/{PREFIX}']), sep='\\n')"
    told = subprocess.run(
        [Path(sys.executable).resolve(), "-I", "-c", question], capture_output=True, text=True, check=True
    )
    places = [Path(place) for place in told.stdout.splitlines()]
    version = f"/{PREFIX}/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    return next(place for place in places if place.is_relative_to(version)).relative_to("/")


def _interpreter(out: Path, version: str) -> None:
    bin_folder = out / PREFIX / "bin"
    bin_folder.mkdir(parents=True)
    shutil.copy2(Path(sys.executable).resolve(), bin_folder / version)
    (bin_folder / "python3").symlink_to(version)


def _standard_library(target: Path) -> None:
    source = Path(sysconfig.get_path("stdlib"))

    def ignored(folder: str, names: list[str]) -> set[str]:
        if Path(folder) == source:
            return {name for name in names if name in _STDLIB_LEFT_OUT or name.startswith("config-")}
        return {
            name for name in names if name in {"__pycache__", "tests", "test"} or name.startswith(_DYNLOAD_LEFT_OUT)
        }

    shutil.copytree(source, target, ignore=ignored)


def _distributions() -> Iterator[importlib.metadata.Distribution]:
    """Those of requirements.txt, without what only building needs."""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if (found := re.match(r"([A-Za-z0-9._-]+)==", line)) and found[1] not in BUILD_ONLY:
            yield importlib.metadata.distribution(found[1])


def _install(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    for file in distribution.files or ():
        name = str(file)
        if name.startswith(("..", *(f"{part}/" for part in LEFT_OUT))) or "__pycache__" in name:
            continue
        if file.suffix in {".pyi", ".pxd", ".pyx"} or {"tests", "test"} & set(file.parts[:-1]) or file.name == "RECORD":
            continue
        target = packages / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(str(distribution.locate_file(file)), target)


def _our_own(packages: Path) -> None:
    """Our packages with what was built, and the sources from which bcc and the module are compiled on a node."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", *OURS], capture_output=True, text=True, check=False
    ).stdout.splitlines() or [
        str(path.relative_to(ROOT)) for name in OURS for path in (ROOT / name).rglob("*") if path.is_file()
    ]
    built = [f"analyzers/_native{suffix}", f"probes/_libbpf{suffix}", "analyzers/native/firesteel-engine"]
    machine = {"x86_64": "x86", "aarch64": "arm64"}[os.uname().machine]
    built += [str(path.relative_to(ROOT)) for path in (ROOT / "probes" / "ebpf").glob(f"*-{machine}.bpf.o")]
    for name in [*tracked, *built]:
        source = ROOT / name
        is_source = source.suffix in _SOURCE or source.name in {"Kbuild", "Makefile"}
        if (is_source and not name.startswith("probes/")) or "__pycache__" in name or source.suffix == ".pyi":
            continue
        is_built = source.suffix in _BUILT or source.name.startswith("firesteel-engine")
        if not source.exists() or (is_built and name not in built):
            continue
        target = packages / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    script = packages / "scripts" / "recompile-module.sh"
    script.parent.mkdir()
    shutil.copy2(ROOT / "scripts" / "recompile-module.sh", script)


def _command(out: Path, version: str) -> None:
    command = out / PREFIX / "bin" / "firesteel"
    command.write_text(f"#!/{PREFIX}/bin/{version} -P\nimport sys\nfrom collector.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)


def _system_files(out: Path) -> None:
    for folder, mode in (("tmp", 0o1777), ("etc/firesteel", 0o755), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755),
                         ("var/lib/firesteel", 0o755), ("run", 0o755), ("root", 0o700)):  # fmt: skip
        (out / folder).mkdir(parents=True)
        (out / folder).chmod(mode)
    (out / "etc/passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\nfiresteel:x:65532:65532::/:/sbin/nologin\n")
    (out / "etc/group").write_text("root:x:0:\nfiresteel:x:65532:\n")
    (out / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    target = out / _AUTHORITIES.relative_to("/")
    target.parent.mkdir(parents=True)
    shutil.copy2(_AUTHORITIES, target)
    wanted = Path(ssl.get_default_verify_paths().openssl_cafile)
    if wanted != Path("/") / target.relative_to(out):
        link = out / wanted.relative_to("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/{target.relative_to(out)}")


def _programs(out: Path) -> Iterator[Path]:
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.name.endswith(".bpf.o"):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def _strip(out: Path) -> None:
    for path in _programs(out):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWUSR)
        subprocess.run(["strip", "--strip-unneeded", str(path)], check=True)
        path.chmod(mode)


def _shared_libraries(out: Path) -> list[Path]:
    """Copies what the programs are linked with to where the loader looks by itself; answers where each came from."""
    found: dict[str, Path] = {}
    loader: Path | None = None
    for program in _programs(out):
        told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        for name, place in re.findall(r"^\s*(\S+)(?: =>)? (/\S+|not found) ?\(?", told, re.MULTILINE):
            if place != "not found" and not Path(place).is_relative_to(out):
                found.setdefault(Path(name).name, Path(place))
        for place in re.findall(r"^\s*(/\S*ld-linux\S*) \(", told, re.MULTILINE):
            loader = Path(place)
    assert loader is not None, "no program needs a loader"
    libc = found["libc.so.6"]
    for name in LIBRARIES:
        if (path := libc.parent / name).exists():
            found[name] = path
    folder = out / "usr" / libc.parent.relative_to("/usr" if libc.is_relative_to("/usr") else "/")
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in sorted(found.items()):
        if "ld-linux" not in name:
            shutil.copy2(path.resolve(), folder / name)
    # As on the system that this comes from: /lib is /usr/lib.
    (out / "lib").symlink_to("usr/lib")
    place = out / "usr" / loader.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(loader.resolve(), place)
    if loader.parts[1] != "lib":
        (out / loader.parts[1]).symlink_to(f"usr/{loader.parts[1]}")
    _strip(folder)
    return sorted(path for name, path in found.items() if "ld-linux" not in name)


def _licences(out: Path, stdlib: Path, libraries: list[Path]) -> None:
    """Of every Debian package that something of is in the image."""
    source = Path(sysconfig.get_path("stdlib"))
    modules = [source / path.relative_to(stdlib) for path in stdlib.rglob("*") if path.is_file()]
    taken = licences.owners([Path(sys.executable).resolve(), *libraries, *modules])
    # Whose file is made when it is installed, so that dpkg knows no owner of it.
    licences.write(
        out, {*taken.values(), "ca-certificates"}, [ROOT / "LICENSE", *sorted((ROOT / "LICENSES").iterdir())]
    )


def _compile(out: Path, packages: Path) -> None:
    """Bytecode that never looks at its source; of other people's packages and the standard library without the source."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    ours = {packages / name for name in OURS}
    for folder in sorted({out / PREFIX / "lib", packages}):
        compileall.compile_dir(
            folder,
            quiet=1,
            legacy=True,
            stripdir=str(out),
            prependdir="/",
            invalidation_mode=mode,
            maxlevels=20,
            workers=1,
        )
    for source in sorted((out / PREFIX / "lib").rglob("*.py")):
        compiled = source.with_suffix(".pyc")
        if ours & set(source.parents):
            place = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
            place.parent.mkdir(exist_ok=True)
            compiled.rename(place)
        elif compiled.exists():
            source.unlink()


def _bill_of_materials(out: Path, distributions: list[importlib.metadata.Distribution], libraries: list[Path]) -> None:
    owners: dict[tuple[str, str], list[str]] = {}
    for library in libraries:
        owners.setdefault(_owner(library), []).append(library.name)
    parts = [
        *bill.python_parts(distributions),
        bill.part("python", sys.version.split()[0], "PSF-2.0"),
        *({**bill.debian_part(*owner), "comment": ", ".join(files)} for owner, files in sorted(owners.items())),
    ]
    created = datetime.fromtimestamp(_EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    creation = {"created": created, "creators": ["Tool: deploy/images/assemble.py"]}
    place = out / bill.PLACE
    place.parent.mkdir(parents=True)
    place.write_text(bill.document("firesteel", bill.part("firesteel", _own_version(), "Apache-2.0"), parts, creation))


def _own_version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def _owner(library: Path) -> tuple[str, str]:
    """(Debian package, version); the file's own name where dpkg has none."""
    for path in {library, library.resolve(), Path("/usr") / library.resolve().relative_to("/")}:
        told = subprocess.run(["dpkg-query", "--search", str(path)], capture_output=True, text=True, check=False).stdout
        if told:
            name = told.split(":", 1)[0]
            shown = subprocess.run(
                ["dpkg-query", "--show", "--showformat=${Version}\n", name], capture_output=True, text=True, check=False
            )
            return name, (shown.stdout.splitlines() or [""])[0]
    return library.name, ""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m deploy.images.assemble FOLDER (which must not be there yet)")
    main(Path(sys.argv[1]).absolute())
