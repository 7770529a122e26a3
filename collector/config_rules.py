# SPDX-License-Identifier: Apache-2.0
"""Rules between keys, each a row: the keys to blame, and a function that says what is wrong, or nothing.

`not_yet` is the other half of honesty: settings that are part of the contract, that somebody asked for, and that this
version does not act on. They are accepted, and the agent says so at start and in its status.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from collector.kinds import duration_text
from collector.schema import Config

Protocol = Literal["grpc", "http"]
_OTLP_HTTP_PORT = 4318

# Drivers that this version has.
DRIVERS_BUILT = ("core", "bcc", "kmod", "none")


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """`keys` in the order in which they are to blame, what is wrong, and what is allowed."""

    keys: tuple[str, ...]
    message: str
    allowed: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`broken` says what is wrong, or nothing."""

    keys: tuple[str, ...]
    broken: Callable[[Config], str]
    allowed: str


def _half_tls(config: Config) -> str:
    tls = config.listen.tls
    if tls.cert and not tls.key:
        return "there is a certificate without its key"
    return "there is a key without its certificate" if tls.key and not tls.cert else ""


def _half_otlp_tls(config: Config) -> str:
    tls = config.export.otlp.tls
    if tls.cert and not tls.key:
        return "there is a certificate without its key"
    return "there is a key without its certificate" if tls.key and not tls.cert else ""


def _unused_otlp_tls(config: Config) -> str:
    otlp = config.export.otlp
    if not any((otlp.tls.ca, otlp.tls.cert)) or not otlp.endpoint or otlp.endpoint.startswith("https:"):
        return ""
    return f"there are files for TLS, and {otlp.endpoint} is not https"


def _port(endpoint: str) -> int:
    """0 if there is none, -1 if it is no port."""
    try:
        return urlsplit(endpoint).port or 0
    except ValueError:
        return -1


def _wrong_port(config: Config) -> str:
    endpoint = config.export.otlp.endpoint
    return f"{endpoint} does not name a port" if endpoint and _port(endpoint) < 0 else ""


def _grpc_path(config: Config) -> str:
    otlp = config.export.otlp
    path = urlsplit(otlp.endpoint).path.strip("/")
    return f"gRPC has no use for the path /{path}" if path and otlp_protocol(config) == "grpc" else ""


def _open_api(config: Config) -> str:
    api = config.listen.api
    if api is None or api.loopback or config.listen.auth != "none":
        return ""
    return f"{api} can be reached from other machines, and listen.auth is none"


def _same_port(config: Config) -> str:
    metrics, api = config.listen.metrics, config.listen.api
    if metrics is None or api is None or metrics.port == 0 or metrics.port != api.port:
        return ""
    if metrics.host and api.host and metrics.host != api.host:
        return ""
    return f"listen.api ({api}) is also where listen.metrics listens ({metrics})"


def _budgets(config: Config) -> str:
    parse, stream = config.payload.parse_bytes, config.payload.stream_bytes
    return f"payload.parse_bytes ({parse}) is more than payload.stream_bytes ({stream})" if parse > stream else ""


def _short_counters(config: Config) -> str:
    life, interval = config.metrics.ttl.counter, config.metrics.scrape_interval
    told = f"a counter lives {duration_text(life)}, too short for two scrapes {duration_text(interval)} apart"
    return told if life < 2 * interval else ""


def _short_gauges(config: Config) -> str:
    life, interval = config.metrics.ttl.gauge, config.metrics.scrape_interval
    told = f"a gauge lives {duration_text(life)}, less than from scrape to scrape ({duration_text(interval)})"
    return told if life < interval else ""


def otlp_protocol(config: Config) -> Protocol:
    """What is spoken to the collector, with auto decided."""
    otlp = config.export.otlp
    if otlp.protocol == "auto":
        return "http" if _port(otlp.endpoint) == _OTLP_HTTP_PORT else "grpc"
    return "http" if otlp.protocol == "http" else "grpc"


def endpoint_port(config: Config) -> int:
    """The collector's port, with what the scheme stands for where none is named."""
    endpoint = config.export.otlp.endpoint
    return _port(endpoint) or (443 if endpoint.startswith("https:") else 80)


def _reviews_without_cluster(config: Config) -> str:
    asks = "kubernetes" in {config.listen.auth, config.listen.metrics_auth}
    return (
        "kubernetes.enabled is false, and nobody else can review tokens"
        if asks and config.kubernetes.enabled == "false"
        else ""
    )


RULES = (
    Rule(
        ("listen.auth", "listen.metrics_auth", "kubernetes.enabled"),
        _reviews_without_cluster,
        "a token file, or kubernetes.enabled: auto",
    ),
    Rule(("listen.tls.cert", "listen.tls.key"), _half_tls, "both listen.tls.cert and listen.tls.key, or neither"),
    Rule(
        ("export.otlp.tls.cert", "export.otlp.tls.key"),
        _half_otlp_tls,
        "both export.otlp.tls.cert and export.otlp.tls.key, or neither",
    ),
    Rule(
        ("export.otlp.tls.ca", "export.otlp.tls.cert", "export.otlp.endpoint"),
        _unused_otlp_tls,
        "an https endpoint, or no files",
    ),
    Rule(("export.otlp.endpoint",), _wrong_port, "a port from 1 to 65535, as in http://collector:4317"),
    Rule(("export.otlp.endpoint", "export.otlp.protocol"), _grpc_path, "no path, or export.otlp.protocol: http"),
    Rule(("listen.api",), _open_api, "an address on loopback, or kubernetes or a token file in listen.auth"),
    Rule(("listen.api", "listen.metrics"), _same_port, "two different ports"),
    Rule(("payload.parse_bytes", "payload.stream_bytes"), _budgets, "at most payload.stream_bytes"),
    Rule(("metrics.ttl.counter", "metrics.scrape_interval"), _short_counters, "at least two scrape intervals"),
    Rule(("metrics.ttl.gauge", "metrics.scrape_interval"), _short_gauges, "at least one scrape interval"),
)


def broken_rules(config: Config) -> list[BrokenRule]:
    """Every rule that `config` breaks. The default configuration breaks none."""
    return [BrokenRule(rule.keys, message, rule.allowed) for rule in RULES if (message := rule.broken(config))]


def not_yet(config: Config) -> list[str]:
    """A sentence for each setting that was made and that this version does not act on."""
    return [f"{name}: {sentence}" for name, sentence in _unbuilt(config)]


def _unbuilt(config: Config) -> list[tuple[str, str]]:
    default = Config()
    found: list[tuple[str, str]] = []
    missing = [name for name in config.drivers if name not in DRIVERS_BUILT]
    if config.driver != default.driver and missing:
        found.append(("driver", f"{', '.join(missing)}: not in this version, passed over"))
    return found
