# SPDX-License-Identifier: Apache-2.0
"""Skips with the reason where there is no browser."""

import pytest

from tests.live.browser import CHROMIUM


@pytest.fixture(autouse=True)
def _browser() -> None:
    pytest.importorskip("playwright", reason="the Python package playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
