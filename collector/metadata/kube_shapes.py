# SPDX-License-Identifier: Apache-2.0
"""Which fields of the API's objects are read at all: the rest (managedFields, environments, images) is passed over in the text
and never becomes an object of Python's, which is most of what an answer would cost.

What comes out is raw JSON as before, with fewer fields; `kube_objects` reads it. A shape names the fields: a mapping is an
object, a list holds one shape for all of its entries, ANY is taken as it is.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

Shape = Mapping[str, Any]
Decode = Callable[[bytes], Any]
"""Raises ValueError for what is no JSON."""
ANY: Final = Any

_OWNER: Final = {"kind": ANY, "name": ANY, "uid": ANY, "controller": ANY}
_METADATA: Final = {"name": ANY, "namespace": ANY, "uid": ANY, "resourceVersion": ANY, "ownerReferences": [_OWNER]}
_IP: Final = {"ip": ANY}
_CONTAINER: Final = {"ports": [{"hostPort": ANY, "containerPort": ANY}]}
_STATUS: Final = {"containerID": ANY, "name": ANY}

POD: Final[Shape] = {
    "kind": ANY,
    "metadata": {**_METADATA, "annotations": {"kubernetes.io/config.hash": ANY}},
    "spec": {"nodeName": ANY, "hostNetwork": ANY, "containers": [_CONTAINER], "initContainers": [_CONTAINER]},
    "status": {
        "phase": ANY, "podIP": ANY, "podIPs": [_IP], "hostIP": ANY, "hostIPs": [_IP], "containerStatuses": [_STATUS],
        "initContainerStatuses": [_STATUS], "ephemeralContainerStatuses": [_STATUS],
    },
}  # fmt: skip
SERVICE: Final[Shape] = {
    "kind": ANY,
    "metadata": _METADATA,
    "spec": {"clusterIP": ANY, "clusterIPs": ANY, "externalIPs": ANY, "ports": [{"port": ANY, "nodePort": ANY}]},
    "status": {"loadBalancer": {"ingress": [_IP]}},
}
SLICE: Final[Shape] = {
    "kind": ANY,
    "metadata": {**_METADATA, "labels": {"kubernetes.io/service-name": ANY}},
    "ports": [{"port": ANY}],
    "endpoints": [{"addresses": ANY, "targetRef": {"kind": ANY, "uid": ANY}}],
}
NODE: Final[Shape] = {
    "kind": ANY,
    "metadata": _METADATA,
    "status": {"addresses": [{"type": ANY, "address": ANY}]},
}
CONTROLLER: Final[Shape] = {"kind": ANY, "metadata": _METADATA}
_ROW: Final[Shape] = {"cells": ANY, "object": CONTROLLER, "conditions": [{"type": ANY, "status": ANY}]}
TABLE: Final[Shape] = {"kind": ANY, "metadata": _METADATA, "columnDefinitions": [{"name": ANY}], "rows": [_ROW]}
_FAULT: Final[Shape] = {"code": ANY, "message": ANY}
"""Of a Status, which a watch tells instead of an object."""


@dataclass(frozen=True, slots=True)
class Decoders:
    """Of a list's answer, and of a line of a watch."""

    listed: Decode
    event: Decode


def decoders(shape: Shape) -> Decoders:
    """For lists and watches of objects of that shape. A table is its own list."""
    of_list = {"resourceVersion": ANY, "continue": ANY}
    listed = {**shape, "metadata": of_list} if shape is TABLE else {"kind": ANY, "metadata": of_list, "items": [shape]}
    return Decoders(_decode(listed), _decode({"type": ANY, "object": {**shape, **_FAULT}}))


def _decode(shape: Shape) -> Decode:
    import msgspec  # noqa: PLC0415 - 4 MiB that only a cluster is worth

    decoder = msgspec.json.Decoder(_type(shape))

    def decode(data: bytes) -> Any:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError:
            # An object that is not as its kind promises: whoever reads it says what is wrong with it.
            return json.loads(data)

    return decode


def _type(shape: Any) -> Any:
    """Go tells a list or object that is not there as null."""
    if isinstance(shape, list):
        return list[_type(shape[0])] | None  # type: ignore[misc]
    if isinstance(shape, Mapping):
        made: Any = TypedDict
        return made("Part", {name: _type(part) for name, part in shape.items()}, total=False) | None
    return shape
