# SPDX-License-Identifier: Apache-2.0
"""What must be counted of recordings whose recipe does not say it itself: what the client was told to do, and how it ended."""

from collections import Counter
from collections.abc import Iterable, Mapping

# Protocol, request content, response content, status, whether it is an error.
Row = tuple[str, str, str, int, bool]


def http(*asked: tuple[str, int]) -> Counter[Row]:
    return Counter(("http", path, str(status), status, status >= 400) for path, status in asked)


def dns(*asked: tuple[str, str, int]) -> Counter[Row]:
    return Counter(("dns", question, name, code, code > 0) for question, name, code in asked)


def redis(fine: Iterable[str], wrong: Iterable[str] = (), silent: Iterable[str] = ()) -> Counter[Row]:
    """Commands that were done, that failed, and that wanted no answer."""
    done = Counter(("redis", command, "noerror", 0, False) for command in fine)
    done += Counter(("redis", command, "error", 1, True) for command in wrong)
    return done + Counter(("redis", command, "", 0, False) for command in silent)


def tls(name: str, version: str, exchanges: int) -> Counter[Row]:
    """A handshake, and exchanges of which nothing can be read."""
    return Counter({("tls", name, version, 0, False): 1, ("tls", name, "", 0, False): exchanges})


def refused(name: str, alert: str, code: int) -> Counter[Row]:
    return Counter({("tls", name, alert, code, True): 1})


_REDIS_FINE = (
    *("SET", "GET", "GET", "INCR", "LPUSH", "LRANGE", "HSET", "HGETALL", "SADD", "SMEMBERS", "ZADD", "ZSCORE"),
    *("CONFIG GET", "CLIENT SETNAME", "OBJECT ENCODING", "MULTI", "SET", "LPUSH", "EXEC", "EVAL", "SCRIPT LOAD"),
    *("XADD", "XRANGE", "DEL", "PING"),
)
_REDIS_WRONG = ("INCR", "NOSUCHCOMMAND", "GET", "EXEC", "AUTH")
_SUBSCRIBED = ("PING", "SUBSCRIBE", "PSUBSCRIBE", "PING", "UNSUBSCRIBE", "PUNSUBSCRIBE", "GET")
_NOERROR = ("NOERROR", 0)

EXPECTED: Mapping[str, Counter[Row]] = {
    "dns-dig-tcp": dns(
        *((f"www.test {kind}", *_NOERROR) for kind in ("A", "A", "AAAA", "TXT", "HTTPS", "TYPE65280")),
        *((question, *_NOERROR) for question in ("test MX", "alias.test A", "_http._tcp.test SRV")),
        ("missing.test A", "NXDOMAIN", 3),
        ("www.elsewhere A", "REFUSED", 5),
    ),
    "http-aiohttp": http(
        *((f"/stream/{rest}", 200) for rest in ("a", "b/*", "c", "d", "e")),
        ("/none", 404),
    ),
    "http-curl-continue": http(("/stream/upload", 200), ("/stream/upload", 200)),
    "http-curl-nginx": http(
        *(("/", 200), ("/missing", 404), ("/moved", 301), ("/body/*", 200), ("/body/*", 200), ("/error", 500)),
        ("/status/*", 204),
    ),
    "http-curl-nginx-head": http(("/body/*", 200), ("/missing", 404), ("/", 200)),
    "http-curl-python": http(("/*", 200)),
    "http-pipelined-nginx": http(*(("/", 200), ("/missing", 404)) * 3),
    # The answer comes in HTTP/2, behind the one that says so.
    "http-upgrade-h2c": http(("/orders/*", 101)),
    "http-websocket": http(("/socket", 101))
    + Counter({("websocket", "/socket", "", 0, False): 3, ("websocket", "/socket", "1000", 1000, False): 1}),
    "http-wrk-nginx": http(*[("/body/*", 200)] * 10),
    "mysql-tls": tls("", "TLSv1.3", 3),
    "postgresql-tls": tls("", "TLSv1.3", 6),
    "redis-big": redis(("SET", "GET", "DEL")),
    "redis-cli": redis(("COMMAND DOCS", "PING", "SET", "GET", "LRANGE", "HGETALL"), ("BADCOMMAND",)),
    "redis-inline": redis(
        ("PING", "SET", "GET", "INFO", "CLIENT REPLY", "GET", "QUIT"), ("INCR",), ("CLIENT REPLY", "GET") * 2
    ),
    "redis-monitor": redis(("MONITOR", "QUIT")),
    "redis-pipe": redis((*_REDIS_FINE, "ECHO"), _REDIS_WRONG),
    "redis-pipelined": redis(("CONFIG GET",) * 2 + ("SET", "GET", "LPUSH") * 32),
    "redis-replica": redis(("PING", "REPLCONF", "REPLCONF", "PSYNC"))
    + Counter({("NOSUPPORT", "PSYNC", "", 0, False): 1}),
    "redis-resp2": redis(_REDIS_FINE, _REDIS_WRONG),
    "redis-resp3": redis(("HELLO", *_REDIS_FINE), _REDIS_WRONG),
    "redis-subscribed-resp2": redis(_SUBSCRIBED),
    "redis-subscribed-resp3": redis(("HELLO", *_SUBSCRIBED)),
    "tls-distrusted": refused("bad.test", "unknown_ca", 48),
    "tls-no-name": tls("", "TLSv1.2", 2),
    "tls-refused": refused("", "handshake_failure", 40),
    "tls-version": refused("localhost", "protocol_version", 70),
    "tls12": tls("shop.example.com", "TLSv1.2", 2),
    "tls13": tls("api.example.com", "TLSv1.3", 2),
}


def rows(counts: Mapping[Row, int]) -> list[list[object]]:
    """As a recording has them."""
    return [[*row, count] for row, count in sorted(counts.items())]
