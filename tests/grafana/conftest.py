# SPDX-License-Identifier: Apache-2.0
"""One Prometheus with the made cluster for all tests here."""

from collections.abc import Iterator

import pytest

from tests.grafana.cluster import SINCE, STEP_SECONDS, STEPS, pages
from tests.grafana.prometheus import Prometheus, openmetrics, serving

PORT = 29190
TARGET = {"job": "firesteel", "instance": "node-1:9500", "cluster": "made"}


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with serving(openmetrics(pages(), TARGET), folder, PORT, SINCE + (STEPS - 1) * STEP_SECONDS) as running:
        yield running
