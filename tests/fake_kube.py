# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API server as far as an agent can see it: lists in pages, tables, watches with bookmarks, 410, tokens.

What real servers do and clients get wrong is here on purpose: a list from the cache may be a table, a watch of a table
tells its columns in its first event only, an object that stops matching a field selector is told as DELETED, versions
that are too old are refused with 410, first as an answer and later as an event.
"""

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_kube_port import Port

PATHS = {
    "pods": "/api/v1/pods",
    "services": "/api/v1/services",
    "nodes": "/api/v1/nodes",
    "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices",
    "replicasets": "/apis/apps/v1/replicasets",
    "jobs": "/apis/batch/v1/jobs",
}
_GZIPPED_FROM = 128 << 10
"""As the API server packs its answers: from 128 KiB on, at level 4 (apiserver, responsewriters.go)."""
_COLUMNS = ("Name", "Ready", "Status", "Restarts", "Age", "IP", "Node")
Object = dict[str, Any]


@dataclass(slots=True)
class FakeKube:
    """The store behind the server. `refuse` answers a path with a status, `stall` holds answers back while it is set."""

    port: int = 0
    token: str = ""
    version: int = 1
    oldest: int = 0
    objects: dict[str, dict[str, Object]] = field(default_factory=lambda: {name: {} for name in PATHS})
    events: list[tuple[int, str, str, Object, Object | None]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    authorized: list[str] = field(default_factory=list)
    """The Authorization header of each of them."""
    refuse: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, set[str]] = field(default_factory=dict)
    """What each token may get, for reviews."""
    flowing: threading.Event = field(default_factory=threading.Event)
    """Cleared, nothing is answered and nothing told, and no connection ends: the server hangs."""
    bookmark_seconds: float = 0.2
    stopped: bool = False
    news: threading.Condition = field(default_factory=threading.Condition)
    pages: dict[tuple[str, str, bool, int, int], list[tuple[bytes, bytes]]] = field(default_factory=dict)
    """Answers of the newest lists, packed: as a real server's, lists of large clusters cost nothing twice."""
    bytes_sent: int = 0
    cut: int = 0
    """Raised to end every watch that is open."""
    listener: Port | None = None

    def put(self, resource: str, item: Object) -> None:
        """Creates or changes an object."""
        key = _key(item)
        with self.news:
            self.version += 1
            before = self.objects[resource].get(key)
            item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
            self.objects[resource][key] = item
            self.events.append((self.version, resource, "MODIFIED" if before else "ADDED", item, before))
            self.news.notify_all()

    def delete(self, resource: str, key: str) -> None:
        with self.news:
            self.version += 1
            item = self.objects[resource].pop(key)
            item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
            self.events.append((self.version, resource, "DELETED", item, item))
            self.news.notify_all()

    def forget(self) -> None:
        """Compacts: no watch may begin before now, and those that are open end."""
        with self.news:
            self.oldest = self.version
            self.events.clear()
            self.cut += 1
            self.news.notify_all()

    def compact(self) -> None:
        """No watch may begin before now; those that are open go on."""
        with self.news:
            self.oldest = self.version

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens, and every connection is cut. It comes back with all objects, and no version of before."""
        assert self.listener is not None
        self.listener.close()
        try:
            yield
        finally:
            self.forget()
            self.listener.open()

    def asked(self, resource: str, *, watch: bool) -> int:
        """How often a resource was listed, or watched."""
        return sum(path == PATHS[resource] and ("watch" in query) == watch for path, query, _ in self.requests)


def pod(name: str, ip: str, node: str, *, uid: str = "", namespace: str = "shop", **status: Any) -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}",
                     "ownerReferences": [{"kind": "StatefulSet", "name": name.rpartition("-")[0], "uid": "s", "controller": True}]},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], **status},
    }  # fmt: skip


def kubeconfig(folder: Path, port: int) -> Path:
    """As cluster administrators have it; the agent reads it before it gives its privileges up."""
    path = folder / "kubeconfig"
    path.write_text(f"""
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: test, user: {{token: secret}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
""")
    path.chmod(0o600)
    return path


@contextmanager
def fake_kube(token: str = "", port: int = 0, certificate: tuple[Path, Path] | None = None) -> Iterator[FakeKube]:
    """By HTTP, or by HTTPS with a certificate and its key."""
    kube = FakeKube(token=token)
    kube.flowing.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(kube, self)

        def do_POST(self) -> None:
            _review(kube, self)

        def log_message(self, *_arguments: object) -> None:
            pass

    kube.listener = Port(Handler, port, certificate)
    kube.port = kube.listener.number
    try:
        yield kube
    finally:
        kube.stopped = True
        kube.flowing.set()
        kube.forget()
        kube.listener.close()


def _answer(kube: FakeKube, request: BaseHTTPRequestHandler) -> None:
    parts = urlsplit(request.path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    accept = request.headers.get("Accept", "")
    kube.requests.append((parts.path, query, accept))
    kube.authorized.append(request.headers.get("Authorization", ""))
    kube.flowing.wait()
    if kube.token and request.headers.get("Authorization", "").lower() != f"bearer {kube.token}":
        return _send(request, 401, {"kind": "Status", "message": "Unauthorized"})
    if parts.path in kube.refuse:
        return _send(request, kube.refuse[parts.path], {"kind": "Status", "message": "no"})
    resource = next((name for name, path in PATHS.items() if path == parts.path), None)
    if resource is None and (found := _named(kube, parts.path, query.get("fieldSelector", ""))) is not None:
        return _send(request, 200, {"kind": "List", "items": found})
    if resource is None:
        return _send(request, 404, {"kind": "Status", "message": "the server could not find the requested resource"})
    matches = _selector(query.get("fieldSelector", ""))
    as_table = "as=Table" in accept
    if "watch" in query:
        return _watch(kube, request, resource, query, matches, as_table=as_table)
    pages = _pages(kube, resource, query.get("fieldSelector", ""), int(query.get("limit", "500")), as_table=as_table)
    text, zipped = pages[int(query.get("continue", "0"))]
    if zipped and "gzip" in request.headers.get("Accept-Encoding", ""):
        return _send_text(request, 200, zipped, kube, zipped=True)
    return _send_text(request, 200, text, kube)


def _pages(kube: FakeKube, resource: str, selector: str, limit: int, *, as_table: bool) -> list[tuple[bytes, bytes]]:
    with kube.news:
        key = (resource, selector, as_table, limit, kube.version)
        if found := kube.pages.get(key):
            return found
        matches = _selector(selector)
        items = sorted((item for item in kube.objects[resource].values() if matches(item)), key=_key)
    pages: list[tuple[bytes, bytes]] = []
    for number, start in enumerate(range(0, len(items) or 1, limit)):
        page = items[start : start + limit]
        metadata: Object = {"resourceVersion": str(key[-1])}
        if start + limit < len(items):
            metadata["continue"] = str(number + 1)
            if not selector:  # else a real server does not count them
                metadata["remainingItemCount"] = len(items) - start - limit
        body = _table(page, columns=True) if as_table else {"kind": "List", "items": page}
        text = json.dumps({**body, "metadata": metadata}).encode()
        pages.append((text, zlib.compress(text, 4, wbits=31) if len(text) > _GZIPPED_FROM else b""))
    if len(kube.pages) > 16:
        kube.pages.clear()
    kube.pages[key] = pages
    return pages


def _watch(
    kube: FakeKube, request: BaseHTTPRequestHandler, resource: str, query: Mapping[str, str],
    matches: Callable[[Object], bool], *, as_table: bool,
) -> None:  # fmt: skip
    since, cut = int(query.get("resourceVersion") or 0), kube.cut
    if since < kube.oldest:
        return _send(request, 410, {"kind": "Status", "message": "too old resource version"})
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    end, first = time.monotonic() + float(query.get("timeoutSeconds", "60")), True
    marked = time.monotonic()
    try:
        while time.monotonic() < end and kube.cut == cut and not kube.stopped:
            with kube.news:
                found = [event for event in kube.events if event[0] > since and event[1] == resource]
                if not found:
                    kube.news.wait(kube.bookmark_seconds)
                    found = [event for event in kube.events if event[0] > since and event[1] == resource]
                version = kube.version
            kube.flowing.wait()
            for at, _, kind, item, before in found:
                since = at
                seen = _seen_as(kind, matches(item), before is not None and matches(before))
                if seen:
                    told = {"type": seen, "object": _table([item], columns=first) if as_table else item}
                    kube.bytes_sent += _chunk(request, told)
                    first = False
            if not found and kube.cut == cut and time.monotonic() >= marked + kube.bookmark_seconds:
                marked = time.monotonic()
                since = max(since, version)
                mark = {"kind": "Pod", "metadata": {"resourceVersion": str(since)}}
                _chunk(
                    request,
                    {
                        "type": "BOOKMARK",
                        "object": {"kind": "Table", "rows": [{"cells": [], "object": mark}]} if as_table else mark,
                    },
                )
        if kube.cut != cut:
            _chunk(request, {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
        request.wfile.write(b"0\r\n\r\n")
    except OSError:
        request.close_connection = True  # the client left
    return None


def _named(kube: FakeKube, path: str, selector: str) -> list[Object] | None:
    """A list of /api/v1/namespaces/NAMESPACE/RESOURCE of those of one name. Nothing is read by name: an agent's account may not."""
    parts, wanted = path.strip("/").split("/"), selector.removeprefix("metadata.name=")
    if len(parts) != 5 or parts[2] != "namespaces" or parts[4] not in kube.objects or wanted == selector:
        return None
    found = kube.objects[parts[4]].get(f"{parts[3]}/{wanted}")
    return [found] if found else []


def _review(kube: FakeKube, request: BaseHTTPRequestHandler) -> None:
    """TokenReview and SubjectAccessReview; an account is named after its token."""
    path = urlsplit(request.path).path
    kube.requests.append((path, {}, ""))
    kube.authorized.append(request.headers.get("Authorization", ""))
    asked = json.loads(request.rfile.read(int(request.headers.get("Content-Length", "0"))))
    kube.flowing.wait()
    if kube.token and request.headers.get("Authorization", "").lower() != f"bearer {kube.token}":
        return _send(request, 401, {"kind": "Status", "message": "Unauthorized"})
    if path in kube.refuse:
        return _send(request, kube.refuse[path], {"kind": "Status", "message": "no"})
    spec = asked["spec"]
    if asked["kind"] == "TokenReview":
        known = spec["token"] in kube.accounts
        status: Object = {"authenticated": known, "user": {"username": spec["token"]} if known else {}}
    else:
        status = {"allowed": spec["nonResourceAttributes"]["path"] in kube.accounts.get(spec["user"], set())}
    return _send(request, 201, {**asked, "status": status})


def _seen_as(kind: str, matches: bool, matched: bool) -> str:
    """What a watch with a selector makes of a change."""
    if kind == "DELETED":
        return kind if matched else ""
    if matches:
        return "MODIFIED" if matched else "ADDED"
    return "DELETED" if matched else ""


def _selector(text: str) -> Callable[[Object], bool]:
    field_name, unequal, value = text.partition("!=")
    if not unequal:
        field_name, _, value = text.partition("=")
    if field_name != "spec.nodeName":
        return lambda _item: True
    return lambda item: (item["spec"].get("nodeName", "") == value) is not bool(unequal)


def _table(items: list[Object], *, columns: bool) -> Object:
    rows = [
        {
            "cells": [item["metadata"]["name"], "1/1", item["status"].get("phase", ""), "0", "1d",
                      item["status"].get("podIP") or "<none>", item["spec"].get("nodeName") or "<none>"],
            "object": {"kind": "PartialObjectMetadata", "metadata": item["metadata"]},
            **({"conditions": [{"type": "Completed", "status": "True"}]}
               if item["status"].get("phase") in {"Succeeded", "Failed"} else {}),
        }
        for item in items
    ]  # fmt: skip
    table: Object = {"kind": "Table", "rows": rows}
    if columns:
        table["columnDefinitions"] = [{"name": name} for name in _COLUMNS]
    return table


def _key(item: Object) -> str:
    return f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def _send(request: BaseHTTPRequestHandler, status: int, body: Object) -> None:
    _send_text(request, status, json.dumps(body).encode())


def _send_text(
    request: BaseHTTPRequestHandler, status: int, text: bytes, kube: FakeKube | None = None, *, zipped: bool = False
) -> None:
    if kube is not None:
        kube.bytes_sent += len(text)
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    if zipped:
        request.send_header("Content-Encoding", "gzip")
    request.send_header("Content-Length", str(len(text)))
    request.end_headers()
    request.wfile.write(text)


def _chunk(request: BaseHTTPRequestHandler, event: Object) -> int:
    line = json.dumps(event).encode() + b"\n"
    request.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
    request.wfile.flush()
    return len(line)
