# SPDX-License-Identifier: Apache-2.0
"""A WebSocket server of aiohttp that sends back every message; its argument is the port. "close 4001" has it close so."""

import sys

from aiohttp import WSMsgType, web


async def echo(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        if message.type is not WSMsgType.TEXT:
            continue
        asked, _, code = message.data.partition(" ")
        if asked == "close":
            await answer.close(code=int(code))
            break
        await answer.send_str(message.data)
    return answer


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/socket", echo)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
