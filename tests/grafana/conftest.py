# SPDX-License-Identifier: Apache-2.0
"""One Prometheus with the made cluster, one browser and one server of the panel for all tests here."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.grafana.cluster import SINCE, STEP_SECONDS, STEPS, pages
from tests.grafana.prometheus import Prometheus, openmetrics, serving

if TYPE_CHECKING:
    from playwright.async_api import Browser

PORT = 29190
TARGET = {"job": "firesteel", "instance": "node-1:9500", "cluster": "made"}


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with serving(openmetrics(pages(), TARGET), folder, PORT, SINCE + (STEPS - 1) * STEP_SECONDS) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator["Browser"]:
    from tests.grafana.page import BUILT
    from tests.live.browser import CHROMIUM, chromium

    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    for path in BUILT:
        if not path.exists():
            pytest.skip(f"{path.name} is not built: make test-grafana")
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def url() -> AsyncIterator[str]:
    from tests.grafana.page import served

    async with served() as address:
        yield address
