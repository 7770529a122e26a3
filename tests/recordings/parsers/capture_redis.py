# SPDX-License-Identifier: Apache-2.0
"""Makes the Redis recordings anew: `python -m tests.recordings.parsers.capture_redis`, from the top of the tree."""

import shlex
import socket
import subprocess
import time

from tests import servers
from tests.recordings.parsers.capture import Relay, run, version, write

SERVER = f"redis-server {version('redis-cli', '--version').split()[1]}"
# A kind of every answer, with errors in between.
COMMANDS = """SET key value
GET key
get missing
INCR counter
INCR key
LPUSH list a b c
LRANGE list 0 -1
HSET hash f 1 g 2
HGETALL hash
SADD set one two
SMEMBERS set
ZADD scores 1.5 a
ZSCORE scores a
NOSUCHCOMMAND with words
GET
CONFIG GET maxmemory
CLIENT SETNAME recording
OBJECT ENCODING key
MULTI
SET key other
LPUSH key wrong
EXEC
EXEC
EVAL "return {1,'two',{3,{4,{5}}}}" 0
SCRIPT LOAD "return 1"
XADD stream 1-1 field value
XRANGE stream - +
AUTH nobody secret-word
DEL key list hash set scores stream counter
PING
"""


def _type(port: int, *lines: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        for line in lines:
            client.sendall(line)
            time.sleep(0.03)


def command(*words: str) -> bytes:
    """A command as clients send it."""
    parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()


def every_kind(server: servers.Server) -> None:
    lines = [command(*shlex.split(line)) for line in COMMANDS.splitlines()]
    for name, hello in (("redis-resp2", []), ("redis-resp3", [command("HELLO", "3")])):
        relay = Relay(server.port)
        _type(relay.port, *hello, *lines)
        write(name, "redis", f"a socket; {SERVER}", "the commands in capture_redis.py", relay)
    relay = Relay(server.port)
    said = run("redis-cli", "-p", str(relay.port), "--pipe", text=b"".join(lines).decode())
    write("redis-pipe", "redis", f"{version('redis-cli', '--version')}; {SERVER}", f"{said} < the commands", relay)


def benchmark(server: servers.Server) -> None:
    relay = Relay(server.port)
    said = run("redis-benchmark", "-p", str(relay.port), "-c", "1", "-P", "16", "-n", "32", "-t", "set,get,lpush")
    write("redis-pipelined", "redis", f"{version('redis-benchmark', '--version')}; {SERVER}", said, relay)


def subscriptions(server: servers.Server) -> None:
    for name, hello in (("redis-subscribed-resp2", b""), ("redis-subscribed-resp3", command("HELLO", "3"))):
        relay = Relay(server.port)
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            client.sendall(hello + command("PING"))
            time.sleep(0.1)
            client.sendall(command("SUBSCRIBE", "a", "b") + command("PSUBSCRIBE", "p*"))
            time.sleep(0.1)
            run("redis-cli", "-p", str(server.port), "publish", "a", "one")
            run("redis-cli", "-p", str(server.port), "publish", "pq", "two")
            client.sendall(command("PING"))
            time.sleep(0.1)
            client.sendall(command("UNSUBSCRIBE") + command("PUNSUBSCRIBE"))
            time.sleep(0.1)
            client.sendall(command("GET", "missing"))
            time.sleep(0.1)
        write(name, "redis", f"a socket; {SERVER}", "SUBSCRIBE a b, PSUBSCRIBE p*, two messages", relay)


def monitor(server: servers.Server) -> None:
    relay = Relay(server.port)
    with socket.create_connection(("127.0.0.1", relay.port)) as client:
        client.sendall(command("MONITOR"))
        time.sleep(0.1)
        run("redis-cli", "-p", str(server.port), text="SET k v\nGET k\n")
        time.sleep(0.1)
        client.sendall(command("QUIT"))
        time.sleep(0.1)
    write("redis-monitor", "redis", f"a socket; {SERVER}", "MONITOR, two commands of others, QUIT", relay)


def inline(server: servers.Server) -> None:
    relay = Relay(server.port)
    _type(
        relay.port,
        b"PING\r\n",
        b"set key value\r\nget key\r\n",
        b"INFO replication\r\n",
        b"client reply off\r\nget key\r\nCLIENT REPLY ON\r\n",
        b"CLIENT REPLY SKIP\r\nget key\r\nget key\r\n",
        b"\r\nincr key\r\n",
        b"QUIT\r\n",
    )
    write("redis-inline", "redis", f"a socket; {SERVER}", "lines as telnet sends them", relay)


def replica(server: servers.Server) -> None:
    run("redis-cli", "-p", str(server.port), "config", "set", "repl-diskless-sync-delay", "0")
    relay = Relay(server.port)
    with servers.redis(options=("--replicaof", "127.0.0.1", str(relay.port))):
        time.sleep(3)
        run("redis-cli", "-p", str(server.port), "set", "key", "value")
        time.sleep(1)
    write("redis-replica", "redis", f"{SERVER}; {SERVER}", "a replica, and one SET at its master", relay)


def big(server: servers.Server) -> None:
    relay = Relay(server.port)
    _type(relay.port, command("SET", "big", "x" * 6000), command("GET", "big"), command("DEL", "big"))
    write("redis-big", "redis", f"a socket; {SERVER}", "a value of 6 000 bytes", relay)


def main() -> None:
    with servers.redis() as server:
        subprocess.run(["redis-cli", "-p", str(server.port), "ping"], check=True, capture_output=True)
        for recipe in (every_kind, benchmark, subscriptions, monitor, inline, replica, big):
            recipe(server)


if __name__ == "__main__":
    main()
