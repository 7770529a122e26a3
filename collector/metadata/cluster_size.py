# SPDX-License-Identifier: Apache-2.0
"""How large the cluster is, which decides how carefully its API server is to be asked for all of it."""

import random
import threading
import time
from typing import Final

from collector.metadata.kube_api import METADATA, KubeApi, Unavailable

NODES_WITHOUT_NAMES: Final = 100
"""Of more nodes than these, agents that each ask for the whole cluster weigh on its API server."""
SPREAD_SECONDS: Final = 60.0
_PATH: Final = "/api/v1/nodes"


def nodes_of(api: KubeApi) -> int:
    """Asks for the first node and how many are left (metav1.ListMeta.remainingItemCount). Raises Unavailable."""
    answer = api.get(_PATH, {"limit": "1"}, METADATA)
    metadata, items = answer.get("metadata"), answer.get("items")
    left = metadata.get("remainingItemCount") if isinstance(metadata, dict) else None
    return (len(items) if isinstance(items, list) else 0) + (left if isinstance(left, int) else 0)


class Spread:
    """When this agent may ask for the whole cluster: in a large one not all agents at once, though they were started so."""

    def __init__(self, api: KubeApi, stop: threading.Event, longest: float = SPREAD_SECONDS) -> None:
        self._api = api
        self._stop = stop
        self._longest = longest
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds that it still waits for its turn; 0 if it does not."""
        return max(0.0, self._until - time.monotonic())

    def wait(self) -> None:
        """For this agent's turn, or until it is to stop."""
        try:
            large = nodes_of(self._api) > NODES_WITHOUT_NAMES
        except Unavailable:
            return  # whoever watches waits by himself, longer each time and at random
        if large:
            seconds = random.uniform(0, self._longest)
            self._until = time.monotonic() + seconds
            self._stop.wait(seconds)
