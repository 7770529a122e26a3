# SPDX-License-Identifier: Apache-2.0
"""The list of what is in an image, its version, its licence, and where it came from: SPDX 2.3 as JSON.

`python bill.py ROOT` is the last step of the image `full`. Below its /usr/local is what the small image has there, told by the list that
came along; all else is Debian's, told by dpkg. Needs nothing but the standard library.
"""

import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

PLACE: Final = Path("usr/share/firesteel/sbom.spdx.json")
Part = dict[str, Any]


def main(root: Path) -> None:
    """Replaces the small image's list below `root` by the one of all that is there; OSError if there is no list or no dpkg."""
    small = json.loads((root / PLACE).read_text())
    ours, *others = small["packages"]
    # What has files for its comment is a library beside the small one's interpreter, which is not below /usr/local.
    kept = [part for part in others if "comment" not in part]
    debian = installed((root / "var/lib/dpkg/status").read_text())
    written = document("firesteel-full", ours, [*kept, *debian], small["creationInfo"])
    (root / PLACE).write_text(written)
    print(f"{root / PLACE}: {len(kept)} parts of the small image, {len(debian)} Debian packages")


def document(name: str, ours: Part, parts: Sequence[Part], creation: Part) -> str:
    """The text of the list; `ours` is the agent itself, `creation` SPDX's creationInfo."""
    whole = [("SPDXRef-DOCUMENT", "DESCRIBES", ours), *((ours["SPDXID"], "CONTAINS", part) for part in parts)]
    return json.dumps({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
        # Of the same sources there are as many lists as kinds of machines.
        "documentNamespace": f"urn:{name}:{ours['versionInfo']}:image:{platform.machine()}:{creation['created']}",
        "creationInfo": creation,
        "packages": [ours, *parts],
        "relationships": [
            {"spdxElementId": of, "relationshipType": how, "relatedSpdxElement": part["SPDXID"]} for of, how, part in whole
        ],
    }, indent=1) + "\n"  # fmt: skip


def part(name: str, version: str, licence: str, *, of: str = "") -> Part:
    """One part; `of` is the kind of package that package managers know it by (pypi, deb/debian), or nothing."""
    prefix = "deb-" if of.startswith("deb") else ""
    made: Part = {
        "name": name,
        "versionInfo": version,
        "licenseDeclared": licence,
        "SPDXID": f"SPDXRef-{prefix}{re.sub(r'[^A-Za-z0-9.-]', '-', name)}",
        "downloadLocation": "NOASSERTION",
        # Left out it would mean yes, and ask for a sum over the files.
        "filesAnalyzed": False,
    }
    if of and version:
        locator = f"pkg:{of}/{quote(name.lower().replace('_', '-'), safe='')}@{quote(version, safe=':')}"
        made["externalRefs"] = [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}
        ]
    return made


def python_parts(distributions: Iterable[importlib.metadata.Distribution]) -> list[Part]:
    """Python packages, with the licence where they say one that SPDX knows."""
    return [
        part(distribution.metadata["Name"], distribution.version, _licence(distribution), of="pypi")
        for distribution in distributions
    ]


def debian_part(name: str, version: str) -> Part:
    """A Debian package; its licences are many, and in /usr/share/doc of the system that it is from."""
    return part(name, version, "NOASSERTION", of="deb/debian")


def installed(status: str) -> list[Part]:
    """The packages that dpkg's status file says are there, by name; those that only left their configuration behind are not."""
    found = []
    for stanza in re.split(r"\n{2,}", status):
        fields = dict(re.findall(r"^(Package|Version|Status): (.+)$", stanza, re.MULTILINE))
        if fields.get("Status", "").split()[-1:] == ["installed"]:
            found.append((fields["Package"], fields["Version"]))
    return [debian_part(name, version) for name, version in sorted(found)]


def _licence(distribution: importlib.metadata.Distribution) -> str:
    told = next(iter(distribution.metadata.get_all("License-Expression") or ()), "")
    return told if re.fullmatch(r"[A-Za-z0-9.+() -]+", told) else "NOASSERTION"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: bill.py ROOT")
    main(Path(sys.argv[1]))
