# SPDX-License-Identifier: Apache-2.0
"""The built panel in a Chromium, on a page that stands for Grafana (grafana-plugin/harness)."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request

Json = dict[str, Any]
PLUGIN: Final = Path(__file__).parents[2] / "grafana-plugin"
BUILT: Final = (PLUGIN / "dist" / "module.js", PLUGIN / "harness" / "dist" / "harness.js")
SHOTS: Final = "FIRESTEEL_SCREENSHOTS"
"""Folder for the pictures of docs/grafana.md; not set: none are taken."""


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """URL of the page. Only what Grafana would serve is there."""
    app = web.Application()

    async def index(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(PLUGIN / "harness" / "index.html")

    app.router.add_get("/", index)
    app.router.add_static("/public/plugins/firesteel-topology-panel/", PLUGIN / "dist")
    app.router.add_static("/public/", PLUGIN / "node_modules" / "@grafana" / "ui" / "dist" / "public")
    app.router.add_static("/", PLUGIN / "harness" / "dist")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@dataclass
class Shown:
    """One page with the panel on it, and what it complained about."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def watch(self) -> None:
        def console(message: ConsoleMessage) -> None:
            # That one is about `painted`, which reads the canvas.
            if "willReadFrequently" not in message.text:
                self.complaints.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            if urlsplit(request.url).scheme not in {"data", "blob"} and not request.url.startswith(self.url):
                self.outside.append(request.url)

        self.page.on("console", console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", asked)

    async def show(self, frames: list[Json], **scene: Any) -> None:
        await self.page.evaluate("scene => window.harness.show(scene)", {"frames": frames, **scene})

    async def settled(self) -> None:
        """Until the layout rests and the last frame is painted."""
        await self.page.wait_for_selector("[data-testid=topology-map][data-busy=false]", timeout=60_000)
        await self.page.wait_for_timeout(400)

    def part(self, name: str) -> Locator:
        return self.page.get_by_test_id(f"topology-{name}")

    async def drawn(self) -> Json:
        """What the panel says it drew, by its own button."""
        async with self.page.expect_download() as waiting:
            await self.page.get_by_role("button", name="Save what is drawn as JSON").click()
            await self.page.mouse.move(0, 0)  # or the button's hint is in the picture that is taken next
        path = await (await waiting.value).path()
        return dict(json.loads(_text(path)))

    async def place(self, title: str) -> tuple[float, float]:
        """Where on the page the node with this title is."""
        node = next(node for node in (await self.drawn())["nodes"] if node["title"] == title)
        canvas = self.page.locator("canvas")
        scale, x, y = map(float, (await canvas.get_attribute("data-camera") or "").split())
        box = await canvas.bounding_box()
        assert box is not None
        return box["x"] + node["x"] * scale + x, box["y"] + node["y"] * scale + y

    async def painted(self, x: float, y: float) -> bool:
        """Whether anything but the background is within a few pixels of a point of the page."""
        return bool(
            await self.page.evaluate(
                """([x, y]) => {
                    const canvas = document.querySelector('canvas');
                    const box = canvas.getBoundingClientRect();
                    const context = canvas.getContext('2d');
                    const [r, g, b] = context.getImageData(2, 2, 1, 1).data;
                    const around = context.getImageData(x - box.x - 12, y - box.y - 12, 24, 24).data;
                    for (let at = 0; at < around.length; at += 4) {
                        if (around[at] !== r || around[at + 1] !== g || around[at + 2] !== b) { return true; }
                    }
                    return false;
                }""",
                [round(x), round(y)],
            )
        )

    async def shot(self, name: str) -> None:
        folder = os.environ.get(SHOTS)
        if folder:
            await self.page.screenshot(path=Path(folder) / f"{name}.png")


def _text(path: str | Path) -> str:
    return Path(path).read_text(encoding="utf-8")


@asynccontextmanager
async def showing(browser: Browser, url: str, width: int = 1200, height: int = 660) -> AsyncIterator[Shown]:
    """A page without a past. At the end nothing was written to the console and nothing asked of anybody else."""
    context = await browser.new_context(viewport={"width": width, "height": height}, locale="en-GB")
    context.set_default_timeout(20_000)
    try:
        shown = Shown(await context.new_page(), url)
        shown.watch()
        await shown.page.goto(url)
        yield shown
        assert shown.complaints == [], shown.complaints
        assert shown.outside == [], shown.outside
    finally:
        await context.close()
