# SPDX-License-Identifier: Apache-2.0
"""An HTTP server and client of aiohttp, for the kernel tests. See programs/README.md."""

import asyncio
import json
import sys
from collections import Counter

from aiohttp import ClientSession, TCPConnector, web


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello\n")


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def worker(session: ClientSession, base: str, each: int, counts: Counter[int]) -> None:
    for n in range(each):
        method, path = (("GET", "/hello"), ("POST", "/echo"), ("GET", "/missing"))[n % 3]
        async with session.request(method, base + path, data=bytes(3000) if method == "POST" else None) as answer:
            await answer.read()
            counts[answer.status] += 1


async def load(base: str, workers: int, each: int) -> None:
    counts: Counter[int] = Counter()
    async with ClientSession(connector=TCPConnector(limit=workers)) as session:
        await asyncio.gather(*(worker(session, base, each, counts) for _ in range(workers)))
    print(json.dumps(counts))


if __name__ == "__main__":
    if sys.argv[1] == "server":
        app = web.Application()
        app.add_routes([web.get("/hello", hello), web.post("/echo", echo)])
        web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None)
    else:
        asyncio.run(load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
