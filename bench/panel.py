# SPDX-License-Identifier: Apache-2.0
"""The topology panel at the size of a large cluster, in a headless Chromium: first picture, frames a second, memory.

The browser renders without a GPU, on the same cores that the page computes on: figures of a desk are better ones.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import Final

from bench.figures import Line, Section, mebibytes, quick, spread
from tests.grafana import frames
from tests.grafana.page import BUILT, Shown, served, showing
from tests.live.browser import CHROMIUM, chromium

_FIRST_BUDGET: Final = 2.0
_FRAMES_BUDGET: Final = 30.0
_REFRESHES: Final = 20
_WORKLOADS, _EDGES, _PODS = 1000, 5000, 10
_WHAT: Final = f"panel, {_EDGES:,} edges between {_WORKLOADS:,} workloads of {_WORKLOADS * _PODS:,} pods"

# From handing over the frames to the first painted picture with all nodes, in milliseconds.
_FIRST_PICTURE: Final = """async frames => {
    const began = performance.now();
    window.harness.show({ frames, options: { maxNodes: 2000 } });
    while (performance.now() - began < 60000) {
        await new Promise(requestAnimationFrame);
        const map = document.querySelector('[data-testid=topology-map]');
        const canvas = document.querySelector('canvas');
        if (map && Number(map.dataset.nodes) >= 1000 && canvas && canvas.dataset.camera) { break; }
    }
    return performance.now() - began;
}"""

# The map is dragged for some seconds with the pointer; each turn is one frame that the browser painted.
_DRAGGED: Final = """async seconds => {
    const canvas = document.querySelector('canvas');
    const box = canvas.getBoundingClientRect();
    canvas.setPointerCapture = () => undefined;
    const pointer = (name, x, y) => canvas.dispatchEvent(
        new PointerEvent(name, { bubbles: true, clientX: box.x + x, clientY: box.y + y, button: 0, pointerId: 1 }));
    pointer('pointerdown', 3, 3);
    const began = performance.now();
    let frames = 0;
    while (performance.now() - began < seconds * 1000) {
        pointer('pointermove', 10 + frames % 300, 20 + frames % 200);
        await new Promise(requestAnimationFrame);
        frames += 1;
    }
    pointer('pointerup', 5, 5);
    return frames / ((performance.now() - began) / 1000);
}"""


async def _heap(shown: Shown) -> float:
    """Bytes of the page's JavaScript heap in use, after a collection."""
    session = await shown.page.context.new_cdp_session(shown.page)
    await session.send("HeapProfiler.collectGarbage")
    return float(await shown.page.evaluate("performance.memory.usedJSHeapSize"))


async def _measure() -> tuple[list[float], list[float], float, float]:
    """Seconds to the first picture and frames a second of each round; the heap after the first and after all refreshes."""
    data = frames.large(_WORKLOADS, _EDGES, _PODS)
    first, rates = [], []
    before = after = 0.0
    async with served() as url, chromium() as browser:
        for last in [False] * (0 if quick() else 4) + [True]:
            async with showing(browser, url) as shown:
                first.append(await shown.page.evaluate(_FIRST_PICTURE, data) / 1000)
                await shown.settled()
                rates.append(float(await shown.page.evaluate(_DRAGGED, 4)))
                if last:
                    before = await _heap(shown)
                    for _ in range(_REFRESHES):
                        await shown.show(data, options={"maxNodes": 2000})
                        await shown.settled()
                    after = await _heap(shown)
    return first, rates, before, after


def run() -> Section:
    for path in (CHROMIUM, *BUILT):
        if not path.exists():
            raise RuntimeError(f"{path.name} is not there: make test-grafana installs and builds it")
    first, rates, before, after = asyncio.run(_measure())
    return Section([
        Line(
            f"{_WHAT}: first picture", spread(first, lambda value: f"{value:.2f} s"), "2 s",
            statistics.median(first) <= _FIRST_BUDGET,
        ),
        Line(
            f"{_WHAT}: dragged", spread(rates, lambda value: f"{value:.0f} frames/s"), "30 frames/s",
            statistics.median(rates) >= _FRAMES_BUDGET,
        ),
        Line(f"{_WHAT}: heap at first / after {_REFRESHES} refreshes", f"{mebibytes(before)} / {mebibytes(after)}"),
    ])  # fmt: skip
