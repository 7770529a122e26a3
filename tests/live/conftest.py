# SPDX-License-Identifier: Apache-2.0
"""One browser for all tests here, each with a profile of its own; skips with the reason where there is none."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator["Browser"]:
    from tests.live.browser import CHROMIUM, chromium

    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    async with chromium() as opened:
        yield opened
