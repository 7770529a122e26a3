# SPDX-License-Identifier: Apache-2.0
"""Listeners that let in the cluster's accounts: who is who, who may what, how long an answer holds, and no answer."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from collector import token_review
from collector.http_guard import ListenError
from collector.metadata.kube_api import Unavailable
from collector.server import HttpServer
from collector.token_review import CannotTell, TokenReviews
from tests.fake_agent import FakeAgent
from tests.unit.test_server import listeners

SCRAPER = "Bearer a.b.c"


class Api:
    """Knows one token, of an account that may get /metrics."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.down = False

    def create(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.down:
            raise Unavailable("no route to host")
        self.asked.append((path, body))
        if body["kind"] == "TokenReview":
            if body["spec"]["token"] not in {"a.b.c", "other"}:
                return {"status": {"authenticated": False}}
            name = f"system:serviceaccount:monitoring:{body['spec']['token']}"
            return {"status": {"authenticated": True, "user": {"username": name, "groups": ["system:authenticated"]}}}
        spec = body["spec"]
        assert spec["groups"] == ["system:authenticated"]
        allowed = spec["user"].endswith("a.b.c") and spec["nonResourceAttributes"] == {
            "path": "/metrics",
            "verb": "get",
        }
        return {"status": {"allowed": allowed}}


async def test_who_may_get_the_path_is_let_in() -> None:
    api = Api()
    reviews = TokenReviews(api)
    assert await reviews.admits(SCRAPER, "/metrics")
    assert not await reviews.admits(SCRAPER, "/api/v1/status"), "another path is another question"
    assert not await reviews.admits("Bearer other", "/metrics"), "known, but may not"
    assert not await reviews.admits("Bearer stranger", "/metrics")


@pytest.mark.parametrize("wrong", ["", "Basic a.b.c", "Bearer", "Bearer ", "Bearer é", "Bearer " + "x" * 20_000])
async def test_what_is_no_bearer_token_asks_nobody(wrong: str) -> None:
    api = Api()
    assert not await TokenReviews(api).admits(wrong, "/metrics")
    assert not api.asked


async def test_answers_hold_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    reviews = TokenReviews(api)
    for _ in range(50):
        assert await reviews.admits(SCRAPER, "/metrics")
        assert not await reviews.admits("Bearer stranger", "/metrics")
    assert len(api.asked) == 3
    monkeypatch.setattr(token_review, "GOOD_SECONDS", 0.0)
    brief = TokenReviews(api)
    for _ in range(2):
        assert await brief.admits(SCRAPER, "/metrics")
    assert len(api.asked) == 7


async def test_guesses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_review, "KEPT", 10)
    reviews = TokenReviews(Api())
    for number in range(100):
        assert not await reviews.admits(f"Bearer guess-{number}", "/metrics")
    assert len(reviews._known) == 10


async def test_nobody_is_let_in_while_the_api_server_does_not_answer() -> None:
    api = Api()
    api.down = True
    with pytest.raises(CannotTell, match="no route"):
        await TokenReviews(api).admits(SCRAPER, "/metrics")


async def test_both_listeners_ask_the_cluster() -> None:
    api = Api()
    http = HttpServer(listeners(metrics_auth="kubernetes", auth="kubernetes"), FakeAgent(), api)
    await http.start()
    try:
        async with aiohttp.ClientSession() as client:
            async with client.get(
                f"{http.url('listen.metrics')}/metrics", headers={"Authorization": SCRAPER}
            ) as answer:
                assert answer.status == 200
            async with client.get(f"{http.url('listen.metrics')}/metrics") as answer:
                assert answer.status == 401
            async with client.get(
                f"{http.url('listen.api')}/api/v1/status", headers={"Authorization": SCRAPER}
            ) as answer:
                assert answer.status == 401
            api.down = True
            async with client.get(
                f"{http.url('listen.metrics')}/metrics", headers={"Authorization": "Bearer new"}
            ) as answer:
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "5"
    finally:
        await http.stop()


async def test_without_a_cluster_it_is_refused() -> None:
    with pytest.raises(ListenError, match="no cluster"):
        await HttpServer(listeners(auth="kubernetes"), FakeAgent()).start()
