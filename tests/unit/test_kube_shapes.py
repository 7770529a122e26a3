# SPDX-License-Identifier: Apache-2.0
"""What is passed over in the API's JSON is what no record is made of: with it or without, the names are the same."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from collector.metadata import kube_objects
from collector.metadata.kube_objects import Malformed
from collector.metadata.kube_shapes import CONTROLLER, NODE, POD, SERVICE, SLICE, TABLE, Shape, decoders

METADATA = {
    "name": "web-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "7", "managedFields": [{"fieldsV1": {"f:a": {}}}],
    "labels": {"kubernetes.io/service-name": "web", "app": "web"},
    "annotations": {"kubernetes.io/config.hash": "abc", "other": "x" * 100},
    "ownerReferences": [
        {"apiVersion": "v1", "kind": "Other", "name": "first", "uid": "o-0"},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "o-1", "controller": True},
    ],
}  # fmt: skip
_CONTAINERS = [
    {"name": "main", "image": "x", "ports": [{"hostPort": 80, "containerPort": 8080}], "env": [{"name": "A"}]}
]
_STATUSES = [{"name": "main", "containerID": "containerd://" + "a" * 64, "ready": True, "state": {"running": {}}}]
WHOLE_POD = {
    "kind": "Pod", "apiVersion": "v1", "metadata": METADATA,
    "spec": {"nodeName": "n1", "hostNetwork": True, "containers": _CONTAINERS, "initContainers": _CONTAINERS, "volumes": []},
    "status": {
        "phase": "Failed", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "hostIP": "10.1.0.1",
        "hostIPs": [{"ip": "10.1.0.1"}, {"ip": "fd01::1"}], "containerStatuses": _STATUSES, "initContainerStatuses": _STATUSES,
        "ephemeralContainerStatuses": _STATUSES, "conditions": [{"type": "Ready"}],
    },
}  # fmt: skip
WHOLE_SERVICE = {
    "kind": "Service", "metadata": METADATA,
    "spec": {
        "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd96::1"], "externalIPs": ["192.0.2.1"], "selector": {"a": "b"},
        "ports": [{"port": 80, "nodePort": 30080, "targetPort": "web"}],
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2", "ports": []}, {"hostname": "x"}]}},
}  # fmt: skip
WHOLE_SLICE = {
    "kind": "EndpointSlice", "metadata": METADATA, "ports": [{"name": "web", "port": 8080}],
    "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {}, "targetRef": {"kind": "Pod", "name": "web-1", "uid": "u-1"}}],
}  # fmt: skip
WHOLE_NODE = {
    "kind": "Node", "metadata": METADATA,
    "status": {"images": [{"names": ["x"]}], "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}, {"type": "Hostname", "address": "n1"}]},
}  # fmt: skip
WHOLE_ROW = {
    "cells": ["web-1", 3, "Running", "10.0.0.1", "n1", None],
    "conditions": [{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}],
    "object": {"kind": "PartialObjectMetadata", "metadata": METADATA},
}
COLUMNS = [{"name": name, "type": "string", "priority": 0} for name in ("Name", "Ready", "Status", "IP", "Node", "X")]


def _row(item: Any) -> Any:
    return kube_objects.pod_of_row(kube_objects.columns_of({"columnDefinitions": COLUMNS}), item)


def _controller(item: Any) -> Any:
    return kube_objects.controller("ReplicaSet", item)


Read = Callable[[Any], Any]
KINDS: list[Any] = [
    pytest.param(POD, WHOLE_POD, kube_objects.pod, id="pod"),
    pytest.param(SERVICE, WHOLE_SERVICE, kube_objects.service, id="service"),
    pytest.param(SLICE, WHOLE_SLICE, kube_objects.endpoint_slice, id="slice"),
    pytest.param(NODE, WHOLE_NODE, kube_objects.node, id="node"),
    pytest.param(CONTROLLER, {"kind": "ReplicaSet", "metadata": METADATA}, _controller, id="controller"),
]


@pytest.mark.parametrize(("shape", "item", "read"), KINDS)
def test_a_record_is_the_same_from_what_is_left(shape: Shape, item: Any, read: Read) -> None:
    decode = decoders(shape)
    listed = decode.listed(
        json.dumps({"kind": "List", "metadata": {"resourceVersion": "9", "continue": "c"}, "items": [item]}).encode()
    )
    assert listed["metadata"] == {"resourceVersion": "9", "continue": "c"}
    event = decode.event(json.dumps({"type": "ADDED", "object": item}).encode())
    assert event["type"] == "ADDED"
    assert read(listed["items"][0]) == read(event["object"]) == read(item)
    assert event["object"]["metadata"]["resourceVersion"] == "7"
    assert "managedFields" not in event["object"]["metadata"]


def test_rows_of_a_table_are_the_same_from_what_is_left() -> None:
    table = {"kind": "Table", "metadata": {"resourceVersion": "9"}, "columnDefinitions": COLUMNS, "rows": [WHOLE_ROW]}
    decode = decoders(TABLE)
    for told in (
        decode.listed(json.dumps(table).encode()),
        decode.event(json.dumps({"type": "ADDED", "object": table}).encode())["object"],
    ):
        assert kube_objects.columns_of(told) == kube_objects.columns_of(table)
        assert _row(told["rows"][0]) == _row(WHOLE_ROW)
        assert _row(told["rows"][0]).is_over
        assert "managedFields" not in told["rows"][0]["object"]["metadata"]


def test_a_status_is_told_instead_of_an_object() -> None:
    line = json.dumps(
        {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old", "reason": "Gone"}}
    )
    for shape in (POD, TABLE):
        assert decoders(shape).event(line.encode())["object"] == {"kind": "Status", "code": 410, "message": "too old"}


@pytest.mark.parametrize(
    "wrong",
    [{"metadata": 7}, {"metadata": {"name": 7}}, {"metadata": {"name": "a", "uid": "u", "ownerReferences": "x"}}],
)
def test_an_object_that_is_not_as_promised_loses_only_itself(wrong: Any) -> None:
    decode = decoders(POD)
    listed = decode.listed(json.dumps({"items": [WHOLE_POD, wrong]}).encode())
    assert kube_objects.pod(listed["items"][0]) == kube_objects.pod(WHOLE_POD)
    with pytest.raises(Malformed):
        kube_objects.pod(listed["items"][1])


def test_nothing_in_go_is_null_and_what_is_no_json_is_refused() -> None:
    decode = decoders(POD)
    assert decode.listed(b'{"kind": "PodList", "metadata": {}, "items": null}')["items"] is None
    assert decode.event(b"[1, 2]") == [1, 2]
    for wrong in (b"", b"{", b'{"type": "ADDED", "object": {}} x', b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011 - of either reader
            decode.event(wrong)
