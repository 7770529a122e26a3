# SPDX-License-Identifier: Apache-2.0
"""firesteel.yaml in a ConfigMap. It is the only place where whoever installs by this plugin can configure agents, so what was changed there
stays: an annotation has the digest of the text that we wrote, and another text is somebody's."""

import hashlib
from collections.abc import Collection
from typing import Final

from .kubectl import Object

_FILE: Final = "firesteel.yaml"
_WRITTEN: Final = "firesteel/written-sha256"


def text_of(item: Object) -> str | None:
    """The file in a ConfigMap, None where it has none."""
    text = (item.get("data") or {}).get(_FILE)
    return None if text is None else str(text)


def fitted_to(item: Object, there: Object | None, rendered: Collection[str]) -> tuple[Object, str]:
    """The ConfigMap as it is to be written, and what to say of it: empty where the file becomes ours.

    `there` is what the cluster has; `rendered` are the texts that this version would write in one case or another, by which a file that
    came without our annotation (kubectl apply) is known.
    """
    own = text_of(item) or ""
    found = text_of(there) if there else None
    marked = _marked(item, own)
    if there is None or found is None:
        return marked, ""
    marked["data"] = {**there["data"], **item["data"]}
    written = (there["metadata"].get("annotations") or {}).get(_WRITTEN)
    if found in rendered or _digest(found) == written:
        return marked, ""
    marked["data"][_FILE] = found
    return marked, _told(item, own, found)


def _marked(item: Object, own: str) -> Object:
    annotations = {**(item["metadata"].get("annotations") or {}), _WRITTEN: _digest(own)}
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _told(item: Object, own: str, found: str) -> str:
    """With our values that the kept file lacks: those of a new version, or of the names service."""
    theirs = {line.strip() for line in found.splitlines()}
    ours = (line.strip() for line in own.splitlines() if not line.rstrip().endswith(":"))
    lacks = [line for line in ours if line and line not in theirs]
    sentence = f"{_FILE} in configmap/{item['metadata']['name']} was changed by somebody and stays"
    return f"{sentence}; it has not, of what this version writes: {', '.join(lacks)}" if lacks else sentence
