# SPDX-License-Identifier: Apache-2.0
"""The archives that a Grafana unpacks: what the checks of Grafana's plugin catalogue ask of one, and the same bytes twice.

The catalogue's own checker comes as a binary from outside; its list of checks is public, and those that concern a panel
without a backend are made here: archive name and layout, plugin.json, images, links, licence, change log, source maps.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from tests.servers import MissingProgram

ROOT: Final = Path(__file__).parents[2]
PLUGIN: Final = ROOT / "grafana-plugin"
ID: Final = "firesteel-topology-panel"
_SVG: Final = {"svg", "g", "path", "circle", "line", "rect", "polyline", "polygon", "ellipse", "defs", "title",
               "linearGradient", "stop"}  # fmt: skip
_TRACKERS: Final = re.compile(
    rb"google-analytics|googletagmanager|hotjar|segment\.(com|io)|mixpanel|fullstory", re.IGNORECASE
)
Json = dict[str, Any]


def packed(source: Path, target: Path) -> dict[str, Path]:
    """The archives made of a built folder, by their names."""
    command = [sys.executable, str(ROOT / "scripts" / "package-plugin.py"), str(source), str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {path.name: path for path in target.iterdir()}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if not (PLUGIN / "dist" / "module.js").exists():
        pytest.skip("the plugin is not built: make test-grafana")
    return packed(PLUGIN / "dist", tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def files(archives: dict[str, Path]) -> dict[str, bytes]:
    """Path below the plugin's folder -> contents, of the zip archive."""
    (name,) = (name for name in archives if name.endswith(".zip"))
    with zipfile.ZipFile(archives[name]) as archive:
        inside = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    assert all(path.startswith(f"{ID}/") for path in inside), "one folder, named as the plugin"
    return {path.removeprefix(f"{ID}/"): data for path, data in inside.items()}


@pytest.fixture(scope="module")
def about(files: dict[str, bytes]) -> Json:
    return dict(json.loads(files["plugin.json"]))


def test_the_archives_are_named_and_hold_the_same(archives: dict[str, Path], files: dict[str, bytes]) -> None:
    version = json.loads((PLUGIN / "package.json").read_text())["version"]
    assert set(archives) == {f"{ID}-{version}.zip", "topo-plugin.tar.gz"}
    with tarfile.open(archives["topo-plugin.tar.gz"]) as archive:
        inside = {member.name.removeprefix(f"{ID}/"): archive.extractfile(member) for member in archive.getmembers()}
        assert {name: data.read() for name, data in inside.items() if data} == files


def test_plugin_json_is_what_grafana_reads(about: Json, files: dict[str, bytes]) -> None:
    assert (about["id"], about["type"]) == (ID, "panel")
    assert re.fullmatch(r"[a-z0-9]+-[a-z0-9-]+-panel", about["id"])
    info = about["info"]
    assert info["version"] == json.loads((PLUGIN / "package.json").read_text())["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["version"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", info["updated"])
    assert info["description"]
    assert len(info["keywords"]) >= 2
    assert about["dependencies"]["grafanaDependency"] == ">=10.4.0"
    for path in (*info["logos"].values(), *(shot["path"] for shot in info["screenshots"])):
        assert path in files, path
    assert info["screenshots"], "the catalogue shows pictures"
    assert not {"backend", "executable", "alerting", "routes"} & set(about), "no part of it runs outside the browser"


def test_the_archive_has_what_must_come_with_it(files: dict[str, bytes]) -> None:
    assert {"module.js", "plugin.json", "README.md", "CHANGELOG.md", "LICENSE"} <= set(files)
    assert b"Apache License" in files["LICENSE"]
    assert b"Create Plugin" not in files["README.md"], "the scaffold's text is nobody's documentation"
    version = json.loads((PLUGIN / "package.json").read_text())["version"]
    assert f"## {version}".encode() in files["CHANGELOG.md"]
    assert not [
        path for path in files if Path(path).name.startswith(".") or path.endswith((".exe", ".so", ".ts", ".tsx"))
    ]


def test_the_code_asks_and_tells_nobody(files: dict[str, bytes]) -> None:
    for path, data in files.items():
        assert not _TRACKERS.search(data), path
    own = files["module.js"] + files["worker.js"]
    asked = [
        word for word in (b"XMLHttpRequest", b"WebSocket(", b"sendBeacon", b"eval(", b"new Function") if word in own
    ]
    assert asked == []
    assert files["module.js"].startswith(b"define("), "an AMD module, for Grafana's loader"


def test_pictures_carry_no_script(files: dict[str, bytes]) -> None:
    drawn = [path for path in files if path.endswith(".svg")]
    assert drawn
    for path in drawn:
        for element in ElementTree.fromstring(files[path]).iter():
            assert element.tag.rpartition("}")[2] in _SVG, path
            assert not [name for name in element.attrib if name.startswith("on") or "href" in name], path


def test_two_builds_are_the_same_bytes(archives: dict[str, Path], tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingProgram("npm is missing: install Node.js 20 or later")
    built = tmp_path / "dist"
    command = [npm, "run", "--silent", "build", "--", "--output-path", str(built)]
    subprocess.run(command, cwd=PLUGIN, check=True, stdout=subprocess.DEVNULL, timeout=80)
    again = packed(built, tmp_path / "packed")
    told = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in archives.items()}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in again.items()} == told
