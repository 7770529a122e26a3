# SPDX-License-Identifier: Apache-2.0
"""Tests of what takes long to make run where they are asked for; elsewhere each is a skip that says how to ask."""

import os

import pytest

# By file: whether it was asked for, and what for. A session that must leave nothing out may leave these (tests/conftest.py), and
# .ci/run names them in its last line.
_OPTIONAL = {
    "test_real_api.py": (
        os.environ.get("FIRESTEEL_REAL_API") == "1",
        "no real API server: make kube-api, and FIRESTEEL_REAL_API=1",
    ),
    "test_image_arm64.py": (
        bool(os.environ.get("FIRESTEEL_ARM64_IMAGE")),
        "no arm64 image: FIRESTEEL_ARM64_IMAGE=folder",
    ),
    "test_image_steps.py": (
        os.environ.get("FIRESTEEL_IMAGE_STEPS") == "1",
        "no Debian for the Dockerfile's steps: as root, apt-get install mmdebstrap, and FIRESTEEL_IMAGE_STEPS=1",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        asked, lack = _OPTIONAL.get(item.path.name, (True, ""))
        if not asked:
            # First of all, so that what else a test lacks is not told instead.
            item.add_marker(pytest.mark.skipif(True, reason=f"optional: {lack}"), append=False)
