# SPDX-License-Identifier: Apache-2.0
"""Rules between keys, each a row: the key to blame, and a function that says what is wrong, or nothing.

`not_yet` is the other half of honesty: settings that are part of the contract, that somebody asked for, and that this
version does not act on. They are accepted, and the agent says so at start and in its status.
"""

from collections.abc import Callable
from dataclasses import dataclass

from collector.kinds import duration_text
from collector.schema import Config

# Protocols with a parser in analyzers/native/protocols; the rest are counted as exchanges and bytes.
DECODED = ("http", "dns", "tls", "websocket")


@dataclass(frozen=True, slots=True)
class Rule:
    key: str
    broken: Callable[[Config], str]
    allowed: str


def _half_tls(config: Config) -> str:
    tls = config.listen.tls
    return "a key without a certificate" if tls.key and not tls.cert else ""


def _keyless_tls(config: Config) -> str:
    tls = config.listen.tls
    return "a certificate without its key" if tls.cert and not tls.key else ""


def _open_api(config: Config) -> str:
    api = config.listen.api
    if api is None or api.loopback or config.listen.token_file:
        return ""
    return f"{api} can be reached from other machines, and listen.auth is none"


def _same_port(config: Config) -> str:
    metrics, api = config.listen.metrics, config.listen.api
    if metrics is None or api is None or metrics.port == 0 or metrics.port != api.port:
        return ""
    if metrics.host and api.host and metrics.host != api.host:
        return ""
    return f"{api} is also where listen.metrics listens ({metrics})"


def _budgets(config: Config) -> str:
    payload = config.payload
    if payload.parse_bytes <= payload.stream_bytes:
        return ""
    return f"{payload.parse_bytes} is more than payload.stream_bytes ({payload.stream_bytes})"


def _short_counters(config: Config) -> str:
    life, interval = config.metrics.ttl.counter, config.metrics.scrape_interval
    if life >= 2 * interval:
        return ""
    return f"{duration_text(life)} ends a counter before two scrapes ({duration_text(interval)} each) saw it"


def _short_gauges(config: Config) -> str:
    life, interval = config.metrics.ttl.gauge, config.metrics.scrape_interval
    return "" if life >= interval else f"{duration_text(life)} is less than one scrape ({duration_text(interval)})"


RULES = (
    Rule("listen.tls.key", _half_tls, "both listen.tls.cert and listen.tls.key, or neither"),
    Rule("listen.tls.cert", _keyless_tls, "both listen.tls.cert and listen.tls.key, or neither"),
    Rule("listen.api", _open_api, "an address on loopback, or a token file in listen.auth"),
    Rule("listen.api", _same_port, "two different ports"),
    Rule("payload.parse_bytes", _budgets, "at most payload.stream_bytes"),
    Rule("metrics.ttl.counter", _short_counters, "at least twice metrics.scrape_interval"),
    Rule("metrics.ttl.gauge", _short_gauges, "at least metrics.scrape_interval"),
)


def broken_rules(config: Config) -> list[tuple[str, str, str]]:
    """Every rule that `config` breaks, as (key, what is wrong, what is allowed)."""
    return [(rule.key, message, rule.allowed) for rule in RULES if (message := rule.broken(config))]


def not_yet(config: Config) -> list[str]:
    """A sentence for each setting that was made and that this version does not act on."""
    return [f"{name}: {sentence}" for name, sentence in _unbuilt(config)]


def _unbuilt(config: Config) -> list[tuple[str, str]]:
    default = Config()
    found: list[tuple[str, str]] = []
    missing = [name for name in config.drivers if name in ("bcc", "kmod")]
    if config.driver != default.driver and missing:
        found.append(("driver", f"{', '.join(missing)}: not in this version, passed over"))
    if config.scope.exclude_namespaces:
        found.append(("scope.exclude_namespaces", "not in this version: there are no names from a cluster yet"))
    unparsed = [name for name in config.protocols.enabled if name not in (*DECODED, "default")]
    if unparsed:
        found.append(("protocols.enabled", f"{', '.join(unparsed)}: not decoded in this version, counted as exchanges"))
    for port, name in config.protocols.ports.items():
        if name not in (*DECODED, "none"):
            found.append((f"protocols.ports.{port}", f"{name}: not decoded in this version, counted as exchanges"))
    if config.requests.url_clustering == "learn":
        found.append(("requests.url_clustering", "learn: not in this version, alphabet is used"))
    if config.metrics.pod_detail_namespaces:
        found.append(("metrics.pod_detail_namespaces", "not in this version: there are no names from a cluster yet"))
    if config.kubernetes != default.kubernetes and config.kubernetes.enabled != "false":
        found.append(("kubernetes", "not in this version: names come from this host's processes and units"))
    if config.export.otlp != default.export.otlp:
        found.append(("export.otlp", "not in this version: nothing is pushed"))
    if config.export.jsonl != default.export.jsonl:
        found.append(("export.jsonl", "not in this version: no file is written"))
    return found
