# SPDX-License-Identifier: Apache-2.0
"""The process in which plugins run: `python -m collector.plugin_worker NAME...`, a line of JSON in, a line out.

It loads them with what the agent has at its start, gives up every privilege, and says what it has: {"ready": {entry
point: protocol}, "failed": {entry point: why}}. A child that it forks then serves ({"serving": pid}) and is replaced
({"ended": status}), with nothing to be read or started anew, which an agent without privileges might not be able to.

For each {"request": hex, "response": hex} comes what a plugin made of it: {"protocol": ..., ...}, {} if it is nobody's, or
{"plugin": entry point, "fault": why}. Before a plugin is called a line names it, so that one that never returns is known.
No process has more memory than LIMIT_BYTES. The pipes to the agent are moved away from standard input and output first:
what plugins print goes to the log, also from C and from programs that they start, and what they read is empty.
"""

import contextlib
import importlib.metadata
import json
import os
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analyzers.contract import PROTOCOLS
from analyzers.plugin import GROUP, NAME, Message, ProtocolPlugin, Side, printable
from collector import privileges, system_calls

LIMIT_BYTES = 512 * 1024 * 1024
_FAULT_CHARACTERS = 200


class Unfit(Exception):
    """What an entry point brings is no plugin; says why."""


def load(names: Sequence[str]) -> tuple[dict[str, ProtocolPlugin], dict[str, str]]:
    """The plugins by entry point, and why the others could not be had."""
    found = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    plugins: dict[str, ProtocolPlugin] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            if name not in found:
                raise Unfit(f"no installed package has an entry point {name} in the group {GROUP}")
            plugins[name] = _checked(found[name].load()(), {plugin.name for plugin in plugins.values()})
        except Exception as error:  # noqa: BLE001 - it is somebody else's code
            failed[name] = _told(error)
    return plugins, failed


def _checked(made: object, taken: set[str]) -> ProtocolPlugin:
    if not isinstance(made, ProtocolPlugin):
        raise Unfit(f"{type(made).__name__} is no analyzers.plugin.ProtocolPlugin")
    if not NAME.fullmatch(made.name):
        raise Unfit(f"name = {made.name!r}: small letters, digits, - and _, at most 31, a letter first")
    if made.name in PROTOCOLS or made.name in taken:
        raise Unfit(f"name = {made.name!r} is another protocol's")
    return made


def _told(error: BaseException) -> str:
    text = str(error)
    return printable(text if isinstance(error, Unfit) else f"{type(error).__name__}: {text}")[:_FAULT_CHARACTERS]


def decode(plugin: ProtocolPlugin, request: bytes, response: bytes) -> Mapping[str, object] | None:
    """None if the exchange is not the plugin's. Raises what the plugin raises, and TypeError for an answer of the wrong kind."""
    if not plugin.detect(request):
        return None
    asked = plugin.frame(request, Side.REQUEST)
    if asked is None:
        return None
    answered = plugin.frame(response, Side.RESPONSE) if response else None
    for message in (asked, answered):
        if message is not None and not isinstance(message, Message):
            raise TypeError(f"frame gave {type(message).__name__} instead of a Message or None")
    outcome = plugin.stitch(asked, answered)
    return {
        "protocol": plugin.name,
        "request_content": printable(str(outcome.request_content)),
        "response_content": printable(str(outcome.response_content)),
        "status": max(0, min(int(outcome.status), 65535)),
        "is_error": bool(outcome.is_error),
    }


def answers(plugins: Mapping[str, ProtocolPlugin], line: str) -> Iterator[Mapping[str, object]]:
    """The lines that come of one; the last is the result."""
    exchange: dict[str, Any] = json.loads(line)
    request, response = bytes.fromhex(exchange["request"]), bytes.fromhex(exchange["response"])
    for name, plugin in plugins.items():
        yield {"asking": name}
        try:
            found = decode(plugin, request, response)
        except Exception as error:  # noqa: BLE001 - it is somebody else's code
            yield {"plugin": name, "fault": _told(error)}
            return
        if found is not None:
            yield {"plugin": name, **found}
            return
    yield {}


class Agent:
    """Who asks: the two pipes, which nobody finds by standard input and output any more."""

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        os.dup2(2, 1)

    def say(self, line: Mapping[str, object]) -> None:
        os.write(self._out, json.dumps(line).encode() + b"\n")

    def heard(self) -> bytes:
        """Empty once the agent hung up."""
        return os.read(self._in, 65536)


def serve(plugins: Mapping[str, ProtocolPlugin], agent: Agent) -> None:
    """Until there are no more lines. Nothing is read ahead: the next line may be another process's."""
    waiting = b""
    while more := agent.heard():
        waiting += more
        while b"\n" in waiting:
            line, _, waiting = waiting.partition(b"\n")
            for answer in answers(plugins, line.decode()):
                agent.say(answer)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    agent = Agent()
    with contextlib.redirect_stdout(sys.stderr):
        plugins, failed = load(sys.argv[1:])
        privileges.drop()
        system_calls.forbid()
        agent.say({"ready": {name: plugin.name for name, plugin in plugins.items()}, "failed": failed})
        while True:
            child = os.fork()
            if child == 0:
                try:
                    serve(plugins, agent)
                except BaseException as error:  # noqa: BLE001 - SystemExit too: it is somebody else's code
                    print(f"plugin_worker: {_told(error)}", file=sys.stderr, flush=True)
                    os._exit(1)
                os._exit(0)
            agent.say({"serving": child})
            _, status = os.waitpid(child, 0)
            if status == 0:
                return  # the agent hung up
            agent.say({"ended": status})


if __name__ == "__main__":
    main()
