# SPDX-License-Identifier: Apache-2.0
"""A Chromium that sees nothing but the server under test, and tells on everything that goes wrong in the page."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from collector.kinds import Endpoint
from collector.schema import Config
from collector.server import HttpServer
from tests.fake_agent import FakeAgent

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
SIZE = (1440, 900)
# What a page shows after its next polls may take a while on a busy machine.
expect.set_options(timeout=30_000)


@dataclass
class Watched:
    """One open page and what it complained about."""

    page: Page
    http: HttpServer
    agent: FakeAgent
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return self.http.url("listen.api")

    async def open(self, fragment: str = "") -> None:
        await self.page.goto(self.url + "/" + fragment)

    def watch(self) -> None:
        own = urlsplit(self.url).netloc

        def console(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and not any(part in message.text for part in self.expected):
                self.errors.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            if urlsplit(request.url).netloc != own:
                self.outside.append(request.url)

        self.page.on("console", console)
        self.page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        self.page.on("request", asked)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Playwright gives it a fresh profile and removes that afterwards."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def watching(
    browser: Browser,
    agent: FakeAgent,
    *,
    scheme: str = "dark",
    size: tuple[int, int] = SIZE,
    motion: str = "no-preference",
    token_file: str = "",
) -> AsyncIterator[Watched]:
    """A server for `agent` and a page without a past; at the end nothing may have gone wrong and nothing gone out."""
    loopback = Endpoint("127.0.0.1", 0)
    settings = replace(Config().listen, metrics=loopback, api=loopback, auth=token_file or "none")
    http = HttpServer(settings, agent)
    await http.start()
    context = await browser.new_context(
        color_scheme="light" if scheme == "light" else "dark",
        reduced_motion="reduce" if motion == "reduce" else "no-preference",
        viewport={"width": size[0], "height": size[1]},
        locale="en-GB",
        timezone_id="UTC",
    )
    context.set_default_timeout(15_000)
    try:
        watched = Watched(await context.new_page(), http, agent)
        watched.watch()
        yield watched
        assert watched.errors == []
        assert watched.outside == []
    finally:
        await context.close()
        await http.stop()


async def until(test: Callable[[], Awaitable[bool]], what: str, seconds: float = 12.0) -> None:
    """Waits for what a page shows after its next poll."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not await test():
        assert loop.time() < end, f"{what} did not come within {seconds} s"
        await asyncio.sleep(0.1)
