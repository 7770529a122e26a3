# SPDX-License-Identifier: Apache-2.0
"""Tests of what takes long to make are there where they are asked for: a real API server, an image for another machine."""

import os

collect_ignore = [
    *([] if os.environ.get("FIRESTEEL_REAL_API") == "1" else ["test_real_api.py"]),
    *([] if os.environ.get("FIRESTEEL_ARM64_IMAGE") else ["test_image_arm64.py"]),
]
