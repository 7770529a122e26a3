# SPDX-License-Identifier: Apache-2.0
"""The panel as a person meets it: views, states, pointer, keyboard; the drawn graph against the truth."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.grafana import frames as made
from tests.grafana.cluster import EDGES, MAIL, STEP_SECONDS, Machine, Pod
from tests.grafana.page import Shown, showing
from tests.grafana.prometheus import Prometheus, dashboard, frame, interpolated, panels

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")
Json = dict[str, Any]
VIEWS = ("namespaces", "workloads", "pods", "nodes", "services")
WEB_LINK = [
    {"title": "Dashboard of ${__data.fields.src_workload_name}", "url": "/d/x?w=${__data.fields.src_workload_name}"}
]


@pytest.fixture(scope="module")
def asked(prometheus: Prometheus) -> dict[str, list[Json]]:
    """Frames of the topology dashboard, by its variable `detail`."""
    board = dashboard("firesteel-topology")
    details = next(v for v in board["templating"]["list"] if v["name"] == "detail")["options"]
    return {
        detail["text"]: [
            frame(target["refId"], prometheus.ask(interpolated(target["expr"], board, detail=detail["value"])))
            for _, target in panels(board)
        ]
        for detail in details
    }


def title(end: object) -> str:
    if isinstance(end, Pod):
        return end.workload
    if isinstance(end, Machine):
        return end.ip if not end.node else end.node
    return str(getattr(end, "domain", "") or getattr(end, "ip", ""))


def truth() -> dict[tuple[str, str, str], tuple[float, float]]:
    """(source, target, protocol) -> requests and errors a second."""
    found: dict[tuple[str, str, str], tuple[float, float]] = {}
    for edge in EDGES:
        key = (edge.source.workload, title(edge.target), edge.protocol)
        requests, errors = found.get(key, (0.0, 0.0))
        found[key] = (
            requests + (edge.good + edge.failed) / STEP_SECONDS,
            errors + edge.failed / STEP_SECONDS,
        )
    return found


async def test_the_drawn_graph_is_the_truth(browser: "Browser", url: str, asked: dict[str, list[Json]]) -> None:
    for detail, frames in asked.items():
        async with showing(browser, url) as shown:
            await shown.show(frames)
            await shown.settled()
            drawn = await shown.drawn()
            titles = {node["id"]: node["title"] for node in drawn["nodes"]}
            found = {
                (titles[edge["source"]], titles[edge["target"]], edge["protocol"]): (edge["requests"], edge["errors"])
                for edge in drawn["edges"]
            }
            if detail == "workloads":
                # Without the label node a machine is known by nothing but that it is one.
                found = {(a, "node-2" if b in {"", "hosts"} else b, c): value for (a, b, c), value in found.items()}
            wanted = truth()
            assert set(found) == set(wanted)
            for key, values in wanted.items():
                assert found[key] == pytest.approx(values, rel=0.01), key
            assert await shown.page.locator("[data-testid=topology-map]").get_attribute("data-edges") == str(
                len(wanted)
            )
            for name in ("web", "cart", "mysql", "api.bank.example", "10.9.8.7"):
                assert await shown.painted(*await shown.place(name)), name


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("view", VIEWS)
async def test_every_view_shows_all_traffic(
    browser: "Browser", url: str, asked: dict[str, list[Json]], view: str, theme: str
) -> None:
    async with showing(browser, url) as shown:
        await shown.show(asked["pods and nodes"], theme=theme, options={"view": view})
        await shown.settled()
        drawn = await shown.drawn()
        assert drawn["view"] == view
        requests = sum(edge["requests"] for edge in drawn["edges"])
        assert requests == pytest.approx(sum(value for value, _ in truth().values()), rel=0.01)
        await shown.shot(f"view-{view}-{theme}")


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_layers_and_comparison(browser: "Browser", url: str, asked: dict[str, list[Json]], theme: str) -> None:
    async with showing(browser, url) as shown:
        await shown.show(asked["pods and nodes"], theme=theme, options={"layout": "layered"})
        await shown.settled()
        at = {node["title"]: node["x"] for node in (await shown.drawn())["nodes"]}
        assert at["web"] < at["cart"] < at["payment"] < at["api.bank.example"]
        await shown.shot(f"layered-{theme}")
        await shown.page.get_by_role("button", name="Compare").click()
        await shown.settled()
        changes = {(e["source"], e["target"]): e["change"] for e in (await shown.drawn())["edges"]}
        assert changes["shop/deployment/cart", "shop/deployment/payment"] == "new"
        assert set(changes.values()) == {"new", "same"}
        await shown.shot(f"compare-{theme}")
        await shown.page.get_by_role("button", name="Changes only").click()
        await shown.settled()
        assert len((await shown.drawn())["edges"]) == 1


STATES: dict[str, Json] = {
    "loading": {"frames": [], "state": "Loading"},
    "empty": {"frames": []},
    "error": {"frames": [], "state": "Error", "errors": [{"refId": "requests", "message": "query timed out"}]},
    "shape": {"frames": [made.table("requests", {"job": ["x"]}, [1.0])]},
}
TEXTS = {"loading": "Asking", "empty": "Nobody talked", "error": "requests: query timed out", "shape": "src_namespace"}


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("state", STATES)
async def test_states_say_what_they_are(browser: "Browser", url: str, state: str, theme: str) -> None:
    async with showing(browser, url, 700, 300) as shown:
        await shown.show(**STATES[state], theme=theme, width=680, height=280)
        assert TEXTS[state] in await shown.part(state).inner_text()
        await shown.page.wait_for_timeout(200)
        await shown.shot(f"state-{state}-{theme}")


async def test_partial_answers_are_shown_and_told(browser: "Browser", url: str, asked: dict[str, list[Json]]) -> None:
    async with showing(browser, url) as shown:
        await shown.show(asked["workloads"], errors=[{"refId": "errors", "message": "too many samples"}])
        await shown.settled()
        notice = shown.part("notices")
        assert "partial" in await notice.inner_text()
        assert "too many samples" in (await notice.locator("span[title]").first.get_attribute("title") or "")
        await shown.page.get_by_role("radio", name="Pods").click(force=True)
        assert "src_pod" in await shown.part("shape").inner_text()
        await shown.page.get_by_role("radio", name="Workloads").click(force=True)
        await shown.settled()
        await shown.shot("state-partial-dark")


def linked(frames: list[Json]) -> list[Json]:
    """The frames with the panel's data links on every value, as Grafana puts them there."""
    return [
        {
            **one,
            "fields": [
                {**field, "config": {"links": WEB_LINK}} if field["name"] == "Value" else field
                for field in one["fields"]
            ],
        }
        for one in frames
    ]


async def click(shown: Shown, name: str, count: int = 1) -> None:
    x, y = await shown.place(name)
    await shown.page.mouse.click(x, y, click_count=count)


async def test_click_focus_expand_and_collapse(browser: "Browser", url: str, asked: dict[str, list[Json]]) -> None:
    async with showing(browser, url) as shown:
        await shown.show(linked(asked["pods and nodes"]), links=WEB_LINK)
        await shown.settled()
        await click(shown, "web")
        details = shown.part("details")
        assert "deployment" in await details.inner_text()
        assert await details.get_by_role("link", name="Dashboard of web").get_attribute("href") == "/d/x?w=web"
        await shown.shot("details-dark")
        await details.get_by_role("button", name="Focus").click()
        await shown.settled()
        near = {node["title"] for node in (await shown.drawn())["nodes"]}
        assert near == {"web", "cart", "catalog", "coredns"}
        await shown.shot("focus-dark")
        await shown.part("focus").get_by_role("button", name="Show all").click()
        await shown.settled()
        await click(shown, "web", 2)
        await shown.settled()
        titles = {node["title"] for node in (await shown.drawn())["nodes"]}
        assert {"web-1", "web-2", "web-3", "cart"} <= titles
        assert "web" not in titles
        await click(shown, "web-2")
        await details.get_by_role("button", name="Collapse into web").click()
        await shown.settled()
        assert "web" in {node["title"] for node in (await shown.drawn())["nodes"]}


async def test_search_filter_and_table(browser: "Browser", url: str, asked: dict[str, list[Json]]) -> None:
    async with showing(browser, url) as shown:
        await shown.show(asked["pods and nodes"])
        await shown.settled()
        await shown.page.get_by_label("Search", exact=True).fill("bank")
        assert "api.bank.example" in await shown.part("found").inner_text()
        await shown.page.get_by_label("Search", exact=True).press("Enter")
        assert "external" in await shown.part("details").inner_text()
        await shown.page.get_by_label("Hide edges below").fill("50")
        await shown.settled()
        edges = (await shown.drawn())["edges"]
        assert edges
        assert all(e["requests"] >= 50 or e["errors"] or e["connect_failures"] for e in edges)
        await shown.page.get_by_label("Hide edges below").fill("")
        await shown.page.get_by_role("radio", name="Table").click(force=True)
        rows = shown.part("table").locator("tbody tr")
        assert await rows.count() == len(truth())
        assert "redis" in await rows.first.inner_text()
        await shown.part("table").get_by_role("button", name="Errors").click()
        assert "7.7 %" not in await rows.last.inner_text()
        await rows.first.press("Enter")
        assert await shown.part("details").is_visible()
        await shown.shot("table-dark")


async def test_a_pin_stays_where_it_was_put(browser: "Browser", url: str, asked: dict[str, list[Json]]) -> None:
    async with showing(browser, url) as shown:
        await shown.show(asked["pods and nodes"])
        await shown.settled()
        before = {n["id"]: (n["x"], n["y"]) for n in (await shown.drawn())["nodes"]}
        x, y = await shown.place("mail")
        await shown.page.mouse.move(x, y)
        await shown.page.mouse.down()
        await shown.page.mouse.move(x + 60, y + 25, steps=4)
        await shown.page.mouse.up()
        await shown.settled()
        after = {n["id"]: (n["x"], n["y"]) for n in (await shown.drawn())["nodes"]}
        mail = f"shop/deployment/{MAIL.workload}"
        assert {key for key in before if before[key] != after[key]} == {mail}
        pins = await shown.page.evaluate("() => window.harness.options.pins")
        assert pins[mail] == {"x": pytest.approx(after[mail][0]), "y": pytest.approx(after[mail][1])}
        # The panel mounted again, and a page that is opened again in this browser.
        await shown.show(asked["pods and nodes"])
        await shown.settled()
        again = {n["id"]: (n["x"], n["y"]) for n in (await shown.drawn())["nodes"]}
        assert again[mail] == pytest.approx(after[mail])
        await shown.page.reload()
        await shown.show(asked["pods and nodes"])
        await shown.settled()
        opened = {n["id"]: (n["x"], n["y"]) for n in (await shown.drawn())["nodes"]}
        assert opened[mail] == pytest.approx(after[mail])


async def test_the_keyboard_is_enough(browser: "Browser", url: str, asked: dict[str, list[Json]]) -> None:
    async with showing(browser, url) as shown:
        await shown.show(asked["pods and nodes"])
        await shown.settled()
        keys, spoken = shown.page.keyboard, shown.part("spoken")
        await shown.part("map").focus()
        await keys.press("ArrowRight")
        first = await spoken.inner_text()
        assert first.startswith("redis, statefulset in data")
        reached = {first.split(",")[0]}
        for key in [way for way in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown") for _ in range(5)]:
            await keys.press(key)
            reached.add((await spoken.inner_text()).split(",")[0])
        assert len(reached) >= 4
        await shown.shot("keyboard-dark")
        chosen = (await spoken.inner_text()).split(",")[0]
        await keys.press("p")
        await asyncio.sleep(0.2)
        pins = await shown.page.evaluate("() => Object.keys(window.harness.options.pins)")
        assert len(pins) == 1
        await keys.press("p")
        await asyncio.sleep(0.2)
        assert await shown.page.evaluate("() => Object.keys(window.harness.options.pins)") == []
        await keys.press("f")
        await shown.settled()
        assert chosen in await shown.part("focus").inner_text()
        await keys.press("Escape")
        await shown.settled()
        assert await shown.part("focus").count() == 0
        await keys.press("/")
        await keys.type("web")
        await keys.press("Enter")
        await shown.part("map").focus()
        await keys.press("e")
        await shown.settled()
        assert "web-1" in {node["title"] for node in (await shown.drawn())["nodes"]}


async def test_three_thousand_pods_in_one_namespace(browser: "Browser", url: str) -> None:
    async with showing(browser, url) as shown:
        await shown.show(made.crowd(), options={"view": "pods"})
        await shown.settled()
        drawn = await shown.drawn()
        assert {node["title"] for node in drawn["nodes"]} == {"crowd", "db-0"}
        assert sum(edge["requests"] for edge in drawn["edges"]) == 3000
        assert "1 folded" in await shown.part("notices").inner_text()
