# SPDX-License-Identifier: Apache-2.0
"""What the names service and its agents say to each other: rows of records, in frames, over one long HTTP answer.

A frame is its length in four bytes, big endian, and so many bytes of zlib around one JSON object:

    {"stream": 1, "epoch": "5f1c", "at": 812, "whole": true}   first: which version follows, and whether all of it does
    {"at": 812, "rows": [["pods", "uid", "shop", "web-0", ...], ["pods", "uid"]]}   a record; a key alone: it is gone
    {"at": 812, "listed": true}                                the end of all of it: what was not told is not there
    {"at": 812, "silent": 3.2}                                 nothing new, and how long the API was not heard

`at` counts changes since the service started (its `epoch`); an agent that comes back names both and goes on from there.
Each frame is packed by itself, so one is made for all agents. A later version may add kinds and, at the end of rows, fields: who
does not know them passes over them. That, and the two versions each side speaks, is one minor version of skew.
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from collector.metadata.kube_objects import (
    ControllerRecord,
    Json,
    NodeRecord,
    Owner,
    PodRecord,
    ServiceRecord,
    SliceRecord,
)

STREAM: Final = 1
"""Grows by one with a minor version that changes what rows mean; the version before is spoken as well."""
PATH: Final = "/names/v1/stream"
CONTENT_TYPE: Final = "application/vnd.firesteel.names"
LARGEST_FRAME: Final = 8 << 20
ROWS_PER_FRAME: Final = 1000
_LENGTH: Final = struct.Struct(">I")
_LEVEL: Final = 6

Row = list[Any]
Record = PodRecord | ServiceRecord | SliceRecord | NodeRecord | ControllerRecord


class Garbled(ValueError):
    """What came is no frame, or a frame of something else."""


def spoken(stream: int = STREAM) -> tuple[int, int]:
    """The oldest and the newest version that a program of this version speaks."""
    return max(1, stream - 1), stream


def agreed(ours: tuple[int, int], theirs: tuple[int, int]) -> int:
    """The newest version that both speak, 0 if there is none."""
    newest = min(ours[1], theirs[1])
    return newest if newest >= max(ours[0], theirs[0]) else 0


def frame(body: Json) -> bytes:
    packed = zlib.compress(json.dumps(body, separators=(",", ":")).encode(), _LEVEL)
    return _LENGTH.pack(len(packed)) + packed


class Unpacker:
    """Takes bytes as they come, gives frames. Holds at most one that is not whole yet."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Json]:
        """Raises Garbled."""
        rest = self._rest + data
        while len(rest) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest)
            if length > LARGEST_FRAME:
                raise Garbled(f"a frame of {length} bytes, at most {LARGEST_FRAME} are allowed")
            end = _LENGTH.size + length
            if len(rest) < end:
                break
            yield _unpacked(rest[_LENGTH.size : end])
            rest = rest[end:]
        self._rest = rest


def _unpacked(packed: bytes) -> Json:
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(packed, LARGEST_FRAME)
        if not unpack.eof:
            raise Garbled(f"a frame of more than {LARGEST_FRAME} bytes unpacked, or cut")
        body = json.loads(text)
    except (zlib.error, ValueError) as error:
        raise Garbled(f"a frame cannot be unpacked: {error}") from None
    if not isinstance(body, Mapping) or not isinstance(body.get("at"), int):
        raise Garbled("a frame that does not say where it is")
    return body


# --- records and rows


def _owner(owner: Owner | None) -> list[str]:
    return [owner.kind, owner.name, owner.uid] if owner else []


def _owned(told: Any) -> Owner | None:
    return Owner(*(str(part) for part in told[:3])) if told else None


def _pairs(told: Any) -> tuple[tuple[str, int], ...]:
    return tuple((str(address), int(port)) for address, port in told)


def _texts(told: Any) -> tuple[str, ...]:
    return tuple(str(text) for text in told)


def _numbers(told: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in told)


def _of_pod(pod: PodRecord) -> Row:
    """Without containers and cgroups: a pod's own node has those from the API server."""
    return [
        pod.namespace, pod.name, pod.node, _owner(pod.owner), pod.addresses, int(pod.host_network), int(pod.is_over),
        pod.host_ports, pod.host_addresses,
    ]  # fmt: skip


def _pod(key: str, told: Sequence[Any]) -> PodRecord:
    namespace, name, node, owner, addresses, host_network, is_over, host_ports, host_addresses = told[:9]
    return PodRecord(
        uid=key, namespace=str(namespace), name=str(name), node=str(node), owner=_owned(owner), addresses=_texts(addresses),
        host_network=bool(host_network), is_over=bool(is_over), host_ports=_numbers(host_ports),
        host_addresses=_texts(host_addresses),
    )  # fmt: skip


def _of_service(service: ServiceRecord) -> Row:
    return [service.namespace, service.name, service.addresses, service.ports, service.node_ports]


def _service(_key: str, told: Sequence[Any]) -> ServiceRecord:
    namespace, name, addresses, ports, node_ports = told[:5]
    return ServiceRecord(str(namespace), str(name), _texts(addresses), _numbers(ports), _numbers(node_ports))


def _of_slice(record: SliceRecord) -> Row:
    return [record.namespace, record.name, record.service, record.backends, record.targets]


def _slice(_key: str, told: Sequence[Any]) -> SliceRecord:
    namespace, name, service, backends, targets = told[:5]
    return SliceRecord(str(namespace), str(name), str(service), _pairs(backends), _texts(targets))


def _of_node(node: NodeRecord) -> Row:
    return [node.name, node.addresses]


def _node(_key: str, told: Sequence[Any]) -> NodeRecord:
    return NodeRecord(str(told[0]), _texts(told[1]))


def _of_controller(record: ControllerRecord) -> Row:
    return [record.namespace, record.name, _owner(record.owner)]


def _controller(kind: str) -> Callable[[str, Sequence[Any]], ControllerRecord]:
    def read(key: str, told: Sequence[Any]) -> ControllerRecord:
        return ControllerRecord(kind, str(told[0]), str(told[1]), key, _owned(told[2]))

    return read


_WRITE: Final[Mapping[str, Callable[[Any], Row]]] = {
    "pods": _of_pod, "services": _of_service, "endpointslices": _of_slice, "nodes": _of_node,
    "replicasets": _of_controller, "jobs": _of_controller,
}  # fmt: skip
_READ: Final[Mapping[str, Callable[[str, Sequence[Any]], Record]]] = {
    "pods": _pod, "services": _service, "endpointslices": _slice, "nodes": _node,
    "replicasets": _controller("ReplicaSet"), "jobs": _controller("Job"),
}  # fmt: skip
KINDS: Final = tuple(_WRITE)


def row(kind: str, key: str, record: Record | None) -> Row:
    """Of a record, or of the end of one."""
    return [kind, key] if record is None else [kind, key, *_WRITE[kind](record)]


def read(told: Any) -> tuple[str, str, Record | None] | None:
    """Kind, key and record (None: it is gone); None for a kind that this version does not know. Raises Garbled."""
    try:
        kind, key, *fields = told
        if kind not in _READ:
            return None
        return str(kind), str(key), _READ[kind](str(key), fields) if fields else None
    except (TypeError, ValueError, IndexError) as error:
        raise Garbled(f"a row cannot be read: {error}") from None
