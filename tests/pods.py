# SPDX-License-Identifier: Apache-2.0
"""Containers as the kubelet and the runtimes leave them on a node: a cgroup, and what the API tells of the pod."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from probes import facts
from tests.fake_kube import Object, pod


@contextmanager
def container(path: str) -> Iterator[tuple[str, ...]]:
    """A cgroup in the hierarchy of pods; the prefix has a command run inside. Gone with the block."""
    hierarchy = facts.gather().pod_hierarchy
    if hierarchy is None:
        pytest.skip("no cgroup hierarchy is mounted")
    folder = hierarchy / path
    folder.mkdir(parents=True)
    try:
        yield ("sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh")
    finally:
        while folder != hierarchy:
            try:
                folder.rmdir()
            except OSError:
                break  # another test's pod is beside it
            folder = folder.parent


def described(uid: str, name: str, container_id: str, **metadata: object) -> Object:
    item = pod(name, "10.77.0.1", os.uname().nodename, uid=uid)
    item["status"]["containerStatuses"] = [{"name": "nginx", "containerID": f"containerd://{container_id}"}]
    item["metadata"] |= metadata
    return item
