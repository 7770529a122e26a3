# SPDX-License-Identifier: Apache-2.0
"""What the live page says when there is nothing, not yet, no longer, or not everything to show; and how it looks."""

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the Python package playwright is not installed")

from playwright.async_api import Browser, Page, Route, expect

from analyzers.rows import DriverCounters
from collector.api import Configuration, Driver, Hook, Problem, RejectedDriver
from collector.kinds import Endpoint
from collector.schema import Config
from collector.server import HttpServer
from tests.fake_agent import FakeAgent, engine_state
from tests.live.browser import Watched, watching
from tests.live.scenes import Scene, crowd, shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

GONE = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")


async def test_while_the_first_answer_is_awaited_it_says_so(browser: Browser) -> None:
    async with watching(browser, Scene()) as watched:
        answer = asyncio.Event()

        async def hold(route: Route) -> None:
            await answer.wait()
            await route.continue_()

        await watched.page.route("**/api/v1/topology*", hold)
        await watched.open()
        await expect(watched.page.locator("#empty h2")).to_have_text("Asking the agent…")
        await expect(watched.page.locator("body")).to_have_attribute("data-state", "loading")
        answer.set()
        await expect(watched.page.locator("#empty h2")).to_have_text("Nothing yet")


async def test_with_nothing_to_show_it_says_what_to_try_and_goes_on_by_itself(browser: Browser) -> None:
    scene = Scene()
    async with watching(browser, scene) as watched:
        await watched.open()
        page = watched.page
        await expect(page.locator("#empty code")).to_contain_text("http.server 8000")
        await expect(page.locator(".quiet-stream")).to_have_text("Requests appear here as they happen.")
        scene.requests = shop().requests[:1]
        await expect(page.locator("#empty")).to_be_hidden()
        await expect(page.locator(".edge")).to_have_count(1)


async def test_an_agent_that_goes_away_leaves_the_last_picture_and_comes_back(browser: Browser) -> None:
    scene = shop()
    scene.sample(5)
    async with watching(browser, scene) as watched:
        watched.expected = GONE
        await watched.open()
        page = watched.page
        await expect(page.locator(".edge")).to_have_count(13)
        port = int(watched.url.rpartition(":")[2])
        await watched.http.stop()
        banner = page.locator(".banner.error")
        await expect(banner).to_contain_text("The agent does not answer")
        await expect(banner).to_contain_text("sudo firesteel run")
        await expect(page.locator("body")).to_have_attribute("data-state", "gone")
        await expect(page.locator(".edge")).to_have_count(13)
        again = HttpServer(replace(Config().listen, metrics=None, api=Endpoint("127.0.0.1", port)), scene)
        await again.start()
        try:
            await expect(banner).to_have_count(0)
            await expect(page.locator("body")).to_have_attribute("data-state", "live")
            scene.sample(1)
            await expect(page.locator(".stream tbody tr")).to_have_count(6)
        finally:
            await again.stop()


async def test_without_any_driver_it_says_why_and_what_helps(browser: Browser) -> None:
    agent = FakeAgent()
    reason = RejectedDriver("core", "this kernel refuses BPF", "run as root")
    agent.now = replace(agent.now, driver=Driver("none", "no probe may be loaded", (), (reason,)))
    async with watching(browser, agent) as watched:
        await watched.open()
        banner = watched.page.locator(".banner")
        await expect(banner).to_contain_text("Nothing can be seen inside connections.")
        await expect(banner).to_contain_text("no probe may be loaded - core: this kernel refuses BPF; run as root")
        await expect(watched.page.locator("#empty h2")).to_have_text("No probe is in place")


async def test_a_replay_says_that_it_is_one(browser: Browser) -> None:
    agent = FakeAgent(requests=shop().requests)
    agent.now = replace(agent.now, mode="replay", driver=Driver("replay", "the bundled recording"))
    async with watching(browser, agent) as watched:
        await watched.open()
        await expect(watched.page.locator(".banner.info")).to_contain_text("A recording is replayed.")
        await expect(watched.page.locator("#driver")).to_have_text("replay")


async def test_without_a_window_totals_are_shown_as_since_the_start_and_nothing_is_idle(browser: Browser) -> None:
    scene = shop()  # its time stands still, as a replay's does
    async with watching(browser, scene) as watched:
        await watched.open()
        page = watched.page
        await expect(page.locator(".edge")).to_have_count(13)
        assert await page.locator("#span").input_value() == "window"
        errors = sum(named.row.count for named in scene.requests if named.row.key.is_error)
        requests = sum(named.row.count for named in scene.requests)
        await expect(page.locator("#totals div").nth(0)).to_have_text(f"requests since start{requests}")
        await expect(page.locator("#totals div").nth(1)).to_have_text(f"failing since start{errors + 7}")
        await expect(page.locator("#totals div").nth(1)).to_have_class("bad")
        assert await page.locator(".edge.idle, .node.idle, .tag.idle").count() == 0
        assert not [text for text in await page.locator(".tag text").all_text_contents() if text.startswith("idle")]
        scene.advance(5)
        await expect(page.locator("#totals div").nth(0)).to_have_text(re.compile("^requests[0-9].*/s$"))


async def test_losses_problems_and_absent_hooks_are_shown(browser: Browser) -> None:
    agent = FakeAgent(requests=shop().requests)
    agent.now = replace(
        agent.now,
        counters=DriverCounters({}, {"DATA": 12_345}, {"COMPAT": 7}, 0, 0),
        driver=Driver("core", "", (Hook("tcp_send_reset", False, False, "not in this kernel", "none is needed"),)),
        configuration=Configuration("/etc/firesteel/firesteel.yaml", "line 3: metrics.detial is unknown"),
        problems=(Problem("error", "dns", "no answer", "check the resolver"),),
        engine=engine_state(starts=3),
    )
    async with watching(browser, agent) as watched:
        await watched.open()
        page = watched.page
        await expect(page.locator(".banner")).to_have_count(2)
        await expect(page.locator(".banner.error")).to_contain_text("dns:")
        lost = page.locator("#lost")
        await expect(lost).to_have_text("⚠ 12.3k lost")
        await lost.click()
        details = page.locator("#details")
        await expect(details).to_contain_text("events that did not fit between kernel and engine")
        await expect(details).to_contain_text("tcp_send_reset not in this kernel; none is needed")
        await expect(details).to_contain_text("running, started 3 times")
        await expect(details).to_contain_text("compat")


async def test_a_token_is_asked_for_once(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("correct-horse-battery")
    scene = shop()
    scene.sample(4)
    async with watching(browser, scene, token_file=str(path)) as watched:
        watched.expected = ("401",)
        await watched.open()
        page = watched.page
        await page.fill("#token-text", "not the right one")
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator("#token")).to_be_visible()
        await page.fill("#token-text", "correct-horse-battery")
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator(".edge")).to_have_count(13)
        await expect(page.locator(".stream tbody tr")).to_have_count(4)
        await page.reload()
        await expect(page.locator(".edge")).to_have_count(13)
        await expect(page.locator("#token")).to_be_hidden()


async def test_dark_and_light_follow_the_system_and_motion_can_be_off(browser: Browser) -> None:
    grounds = {}
    for scheme in ("dark", "light"):
        scene = shop()
        async with watching(browser, scene, scheme=scheme, motion="reduce") as watched:
            await watched.open()
            page = watched.page
            await expect(page.locator(".edge")).to_have_count(13)
            grounds[scheme] = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            moving = await page.locator(".flow").first.evaluate("e => getComputedStyle(e).animationName")
            assert moving == "none"
            assert await _contrast(page, ".node text") >= 7
            assert await _contrast(page, ".muted") >= 4.5
    assert grounds["dark"] != grounds["light"]


async def _contrast(page: Page, selector: str) -> float:
    """WCAG 2 contrast between a text's colour and the page's ground."""
    found: float = await page.locator(selector).first.evaluate(
        """(element) => {
          const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const style = getComputedStyle(element);
          const ink = light(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
          const ground = light(getComputedStyle(document.body).backgroundColor);
          return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        }"""
    )
    return found


async def test_it_fits_a_phone(browser: Browser) -> None:
    scene = shop()
    scene.sample(5)
    async with watching(browser, scene, size=(390, 844)) as watched:
        await watched.open()
        page = watched.page
        await expect(page.locator(".edge")).to_have_count(13)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390


# --- parts that can be asked directly


async def test_layers_go_from_who_asks_to_who_answers_also_in_a_circle(browser: Browser) -> None:
    async with watching(browser, Scene()) as watched:
        await watched.open()
        script = """async () => {
          const { layout } = await import("/live/layout.js");
          const place = (edges, ids) => Object.fromEntries([...layout(ids, edges.map(([source, destination]) =>
            ({ source, destination })), 2).at].map(([id, at]) => [id, at.layer]));
          return [
            place([["a", "b"], ["b", "c"], ["a", "c"]], ["a", "b", "c"]),
            place([["c", "b"], ["b", "a"]], ["a", "b", "c"]),
            place([["a", "b"], ["b", "a"]], ["a", "b"]),
            place([["a", "a"]], ["a"]),
            place([], ["a", "b"]),
            place([["late", "d"], ["a", "b"], ["b", "c"], ["c", "d"]], ["a", "b", "c", "d", "late"]),
          ];
        }"""
        assert await watched.page.evaluate(script) == [
            {"a": 0, "b": 1, "c": 2},
            {"a": 2, "b": 1, "c": 0},
            {"a": 0, "b": 1},
            {"a": 0},
            {"a": 0, "b": 0},
            {"a": 0, "b": 1, "c": 2, "d": 3, "late": 2},
        ]


async def test_centres_keep_their_distance_and_stay_near_their_wishes(browser: Browser) -> None:
    async with watching(browser, Scene()) as watched:
        await watched.open()
        script = """async () => {
          const { spread } = await import("/live/layout.js");
          return [spread([0, 100, 200], [10, 10, 10]), spread([50, 50], [10, 30]), spread([9, 0, 0], [10, 10, 10]), spread([], [])];
        }"""
        assert await watched.page.evaluate(script) == [[0, 100, 200], [40, 60], [-7, 3, 13], []]


async def test_numbers_and_the_search_language(browser: Browser) -> None:
    async with watching(browser, Scene()) as watched:
        await watched.open()
        script = """async () => {
          const f = await import("/live/format.js");
          const { parse } = await import("/live/filter.js");
          const { EventSplitter } = await import("/live/connection.js");
          const events = [];
          const splitter = new EventSplitter((event) => events.push([event.event, event.data, event.id]));
          for (const piece of [": quiet\\n\\nevent: requ", "ests\\nid: 7\\ndata: [1", "]\\n\\nevent: dropped\\ndata: {}\\n\\n"]) splitter.push(piece);
          return {
            rates: [null, 0, 0.001, 0.5, 12.34, 120, 1234, 5e6].map(f.rate),
            times: [null, 0, 5e-7, 0.00025, 0.0123, 2.5, 300].map(f.duration),
            bytes: [0, 999, 1500, 2e9].map(f.bytes),
            shares: [0, 0.0001, 0.075, 0.5, 1].map(f.share),
            terms: parse('nginx -proto:dns "two words" 10.0.0.1:80 is:error status:'),
            events,
          };
        }"""
        assert await watched.page.evaluate(script) == {
            "rates": ["-", "0/s", "<0.01/s", "0.5/s", "12.3/s", "120/s", "1.23k/s", "5M/s"],
            "times": ["-", "0", "<1 µs", "250 µs", "12.3 ms", "2.5 s", "5 min"],
            "bytes": ["0 B", "999 B", "1.5 kB", "2 GB"],
            "shares": ["0%", "<0.1%", "7.5%", "50%", "100%"],
            "terms": [
                {"field": "", "value": "nginx", "not": False},
                {"field": "proto", "value": "dns", "not": True},
                {"field": "", "value": "two words", "not": False},
                {"field": "", "value": "10.0.0.1:80", "not": False},
                {"field": "is", "value": "error", "not": False},
            ],
            "events": [["requests", "[1]", "7"], ["dropped", "{}", None]],
        }


# --- pictures, to be looked at: FIRESTEEL_SCREENSHOTS names the folder they are written to


PICTURED: dict[str, Callable[[], Scene]] = {"dark": shop, "light": shop, "empty": Scene, "many": crowd}


@pytest.mark.parametrize("name", PICTURED)
async def test_pictures(browser: Browser, name: str, tmp_path: Path) -> None:
    scene = PICTURED[name]()
    async with watching(browser, scene, scheme="light" if name == "light" else "dark", size=(1280, 800)) as watched:
        await watched.open()
        page = watched.page
        if scene.requests:
            scene.sample(40)
            scene.advance(8)
            await expect(page.locator("#totals dd").first).to_have_text(re.compile(r"/s$"))
            scene.advance(8)
            scene.sample(3, seed=4)
            await expect(page.locator(".stream tbody tr")).to_have_count(43)
        if name == "light":
            await _open_edge(watched)
        await page.wait_for_timeout(2600)
        folder = Path(os.environ.get("FIRESTEEL_SCREENSHOTS") or tmp_path)
        picture = folder / f"live-{name}.png"
        await page.screenshot(path=picture)
        assert 5_000 < picture.stat().st_size < (500_000 if name == "many" else 200_000)


async def _open_edge(watched: Watched) -> None:
    line = watched.page.locator('.edge[aria-label^="nginx.service → shop-api"] .hit')
    await line.dispatch_event("click")
    await expect(watched.page.locator("#details .tuple").first).to_be_visible()
