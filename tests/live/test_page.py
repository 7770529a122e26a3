# SPDX-License-Identifier: Apache-2.0
"""The live page in a real browser: what it draws of known traffic, and how a person gets around in it."""

import re

import pytest

pytest.importorskip("playwright", reason="the Python package playwright is not installed")

from playwright.async_api import Browser, Page, expect

from tests.fake_agent import Peer, sample_of
from tests.live.browser import Watched, until, watching
from tests.live.scenes import NGINX, SHOP, Scene, crowd, shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

NGINX_TO_SHOP = "nginx.service → shop-api"


async def opened(watched: Watched, fragment: str = "") -> Page:
    await watched.open(fragment)
    await expect(watched.page.locator("body")).to_have_attribute("data-state", "live")
    return watched.page


async def press_edge(page: Page, ends: str) -> None:
    # A curve's bounding box has its centre off the line, so the click goes to the element itself.
    await page.locator(f'.edge[aria-label^="{ends}"] .hit').first.dispatch_event("click")


async def test_edges_nodes_and_requests_are_those_of_the_agent(browser: Browser) -> None:
    scene = shop()
    scene.sample(60)
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await expect(page.locator(".node")).to_have_count(12)
        await expect(page.locator(".edge")).to_have_count(13)
        await expect(page.locator(".stream tbody tr")).to_have_count(60)
        titles = await page.locator(".node text:nth-of-type(1)").all_text_contents()
        assert sorted(titles) == [
            "198.51.100.25", "203.0.113.77", "api.github.com", "api.stripe.com", "nginx.service", "postgresql@15",
            "prometheus", "redis-server", "session-3", "shop-api", "shop-worker", "unbound",
        ]  # fmt: skip
        shown = page.locator(".stream tbody tr").first
        newest = scene.recorded[-1].sample
        await expect(shown.locator(".what")).to_have_text(newest.request_content or "-")
        await expect(shown.locator(".time")).to_have_text("22:14:42.220")
        await expect(page.locator("#node")).to_have_text("box")
        await expect(page.locator("#driver")).to_have_text("core")


async def test_rates_and_failures_are_written_on_the_edge(browser: Browser) -> None:
    scene = shop()
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        scene.advance(10)
        label = page.locator(f'.edge[aria-label^="{NGINX_TO_SHOP}"]')
        await expect(label).to_have_attribute("aria-label", re.compile(r"http 120/s, 7\.5% failed"))
        await expect(label).to_have_class(re.compile("failing"))
        await expect(page.locator(".tag", has_text="120/s").filter(has_text="✕ 8%")).to_have_count(1)
        failing = page.locator("#totals .bad dd")
        await expect(failing).to_have_text("13/s")


async def test_search_narrows_map_and_requests(browser: Browser) -> None:
    scene = shop()
    scene.sample(80)
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        rows = page.locator(".stream tbody tr")
        for query, wanted, edges in (
            ("proto:dns", lambda s: s.sample.protocol == "dns", 2),
            ("status:301", lambda s: s.sample.status == 301, 1),
            ("is:error", lambda s: s.sample.is_error, 3),
            ("products", lambda s: "products" in s.sample.request_content, 1),
            ("-proto:tls -proto:NOSUPPORT", lambda s: s.sample.protocol not in {"tls", "NOSUPPORT"}, 6),
        ):
            await page.fill("#search", query)
            await expect(rows).to_have_count(sum(map(wanted, scene.recorded)))
            await expect(page.locator(".edge:not(.dim)")).to_have_count(edges)
        await page.fill("#search", "no such thing")
        await expect(page.locator(".quiet-stream")).to_have_text("No request of these matches.")
        await page.keyboard.press("Escape")
        await expect(page.locator("#search")).to_have_value("")
        await expect(rows).to_have_count(80)


async def test_an_edge_opens_its_four_tuples(browser: Browser) -> None:
    scene = shop()
    scene.sample(80)
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await press_edge(page, NGINX_TO_SHOP)
        details = page.locator("#details")
        await expect(details.locator("h2")).to_have_text("nginx.service→shop-api")
        await expect(details.get_by_text("Requests by address and content (4)")).to_be_visible()
        await expect(details.locator(".tuple", has_text="127.0.0.1 → 127.0.0.1:8000")).to_have_count(5)
        await expect(details.get_by_text("✕ 502").first).to_be_visible()
        await expect(details.get_by_text("3 retransmits")).to_be_visible()
        await expect(details.locator(".stats dt", has_text="p99")).to_have_count(1)
        await expect(page.locator(".edge.selected")).to_have_count(1)
        await page.keyboard.press("Escape")
        await expect(details).to_be_hidden()


async def test_a_node_lists_its_edges_and_leads_on_to_a_request(browser: Browser) -> None:
    scene = shop()
    scene.sample(80)
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await page.locator('.node[aria-label^="shop-api"]').click()
        details = page.locator("#details")
        await expect(details.get_by_text("Is asked by")).to_be_visible()
        await expect(details.locator(".cards").nth(1).locator("button")).to_have_count(4)
        await details.locator(".card-button", has_text="api.stripe.com").first.click()
        await expect(details.locator("h2")).to_have_text("shop-api→api.stripe.com")
        await page.locator(".stream tbody tr").first.click()
        await expect(details.get_by_text("response transfer")).to_be_visible()
        await expect(page.locator(".stream tr.selected")).to_have_count(1)


async def test_everything_can_be_reached_with_the_keyboard(browser: Browser) -> None:
    scene = shop()
    scene.sample(20)
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await page.keyboard.press("/")
        await expect(page.locator("#search")).to_be_focused()
        await page.keyboard.type("x/")
        await expect(page.locator("#search")).to_have_value("x/")
        await page.keyboard.press("Escape")
        focused = page.locator(":focus")
        for _ in range(30):
            await page.keyboard.press("Tab")
            if "node" in (await focused.get_attribute("class") or ""):
                break
        first = await focused.get_attribute("aria-label")
        await page.keyboard.press("ArrowRight")
        second = await focused.get_attribute("aria-label")
        assert second != first
        await page.keyboard.press("Enter")
        details = page.locator("#details")
        await expect(details).to_be_focused()
        await expect(details.locator("h2")).to_have_text((second or "").split(",")[0])
        await page.keyboard.press("Escape")
        assert await focused.get_attribute("aria-label") == second
        rows = page.locator(".stream tbody tr")
        await rows.first.focus()
        await page.keyboard.press("ArrowDown")
        await expect(rows.nth(1)).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(details.get_by_text("Phases")).to_be_visible()


async def test_the_table_has_the_same_edges_and_sorts(browser: Browser) -> None:
    scene = shop()
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        scene.advance(10)
        await page.get_by_role("button", name="Table").click()
        rows = page.locator(".grid tbody tr")
        await expect(rows).to_have_count(13)
        await until(lambda: _starts_with(rows.first, "shop-api"), "the busiest edge first")
        await expect(rows.first.get_by_text("<1 ms", exact=True)).to_have_count(2)
        await page.get_by_role("button", name="Failed").click()
        await expect(rows.first).to_contain_text("✕ 100%")
        await expect(page.locator("th", has_text="Failed")).to_have_attribute("aria-sort", "descending")
        await page.get_by_role("button", name="Source").click()
        sources = await page.locator(".grid tbody td:first-child").all_text_contents()
        assert sources == sorted(sources)
        await rows.first.click()
        await expect(page.locator("#details h2")).to_contain_text("203.0.113.77")


async def _starts_with(row: object, text: str) -> bool:
    return str(await row.inner_text()).startswith(text)  # type: ignore[attr-defined]


async def test_levels_and_spans_can_be_chosen_and_are_kept_in_the_address(browser: Browser) -> None:
    scene = shop()
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await page.select_option("#level", "address")
        await expect(page.locator(".node", has_text="127.0.0.1:8000")).to_have_count(1)
        await page.select_option("#span", "total")
        await page.get_by_role("button", name="Table").click()
        await page.fill("#search", "proto:dns")
        wanted = "#view=table&level=address&span=total&q=proto%3Adns"
        await page.wait_for_function("wanted => location.hash === wanted", arg=wanted)
        await page.reload()
        await expect(page.locator(".grid tbody tr")).to_have_count(2)
        assert await page.input_value("#level") == "address"
        assert await page.input_value("#span") == "total"


async def test_new_requests_arrive_and_can_be_held(browser: Browser) -> None:
    scene = shop()
    scene.sample(5)
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        rows = page.locator(".stream tbody tr")
        await expect(rows).to_have_count(5)
        scene.sample(1, seed=8)
        await expect(rows).to_have_count(6)
        await page.get_by_role("button", name="Pause").click()
        scene.sample(3, seed=9)
        await expect(page.locator("#fresh")).to_have_text("↑ 3 new")
        await expect(rows).to_have_count(6)
        await page.locator("#fresh").click()
        await expect(rows).to_have_count(9)
        await page.get_by_role("button", name="Clear").click()
        await expect(page.locator(".quiet-stream")).to_be_visible()
        await page.get_by_role("button", name="Errors").click()
        bad = next(n for n in scene.requests if n.row.key.is_error)
        good = next(n for n in scene.requests if not n.row.key.is_error)
        scene.recorded += [sample_of(bad, scene.made + 1), sample_of(good, scene.made + 2)]
        await expect(rows).to_have_count(1)


async def test_text_of_strangers_stays_text(browser: Browser) -> None:
    evil = '"><img src=x onerror=document.title="owned"><script>document.title="owned"</script>'
    scene = Scene()
    scene.add(5, Peer("127.0.0.1", evil, comm=evil[:15]), Peer("127.0.0.1", "<b>bold</b>", comm="b"), 80, content=evil)
    scene.sample(3)
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await expect(page.locator(".stream tbody tr")).to_have_count(3)
        await page.locator(".stream tbody tr").first.click()
        await page.get_by_role("button", name="Table").click()
        await expect(page.locator(".grid tbody td").first).to_have_text(evil)
        assert await page.locator("img, main script, main b").count() == 0
        assert await page.title() == "Firesteel"


async def test_a_refresh_moves_nothing_and_a_newcomer_keeps_the_order(browser: Browser) -> None:
    scene = shop()
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await expect(page.locator(".node")).to_have_count(12)
        before = await _places(page)
        scene.advance(5)
        await page.wait_for_timeout(2500)
        assert await _places(page) == before
        scene.add(9, Peer("127.0.0.1", "backup.timer", "systemd", comm="restic"), SHOP, 8000)
        scene.add(9, Peer("127.0.0.1", "aaa.timer", "systemd", comm="aaa"), NGINX, 80)
        await expect(page.locator(".node")).to_have_count(14)
        after = await _places(page)
        for one, (x, y) in before.items():
            for other, (x2, y2) in before.items():
                if x == x2 and y < y2:
                    assert after[one][1] < after[other][1], f"{one} and {other} changed places"


async def _places(page: Page) -> dict[str, tuple[float, float]]:
    found = {}
    for node in await page.locator(".node").all():
        place = re.fullmatch(r"translate\((\S+) (\S+)\)", await node.get_attribute("transform") or "")
        assert place is not None
        found[(await node.locator("title").text_content() or "").split("\n")[0]] = (float(place[1]), float(place[2]))
    return found


async def test_two_hundred_edges_are_drawn_without_overlaps(browser: Browser) -> None:
    scene = crowd()
    async with watching(browser, scene) as watched:
        page = await opened(watched)
        await expect(page.locator(".edge")).to_have_count(200)
        places = list((await _places(page)).values())
        assert len(places) == len(scene_nodes(scene))
        for index, (x, y) in enumerate(places):
            for x2, y2 in places[index + 1 :]:
                assert abs(x - x2) >= 186 or abs(y - y2) >= 46
        spent = await page.evaluate(
            "async () => { const { layout } = await import('/live/layout.js');"
            " const t = await (await fetch('/api/v1/topology')).json(); const start = performance.now();"
            " layout(t.nodes.map((n) => n.id), t.edges, 2.4); return performance.now() - start; }"
        )
        assert spent < 400


def scene_nodes(scene: Scene) -> set[str]:
    return {end.workload_name for named in scene.requests for end in (named.ends.local, named.ends.remote)}


async def test_silent_edges_are_folded_away_until_asked_for(browser: Browser) -> None:
    scene = shop()
    async with watching(browser, scene) as watched:
        scene.clock_ns += 16 * 60 * 1_000_000_000
        scene.advance(10)
        page = await opened(watched)
        await expect(page.locator("#idle")).to_have_text("+ 1 idle")
        await expect(page.locator(".edge")).to_have_count(12)
        await page.locator("#idle").click()
        await expect(page.locator(".edge")).to_have_count(13)
