# SPDX-License-Identifier: Apache-2.0
"""What the agent tells the engine: plain settings, and the shared block that the engine reads them from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from analyzers._native import ffi, lib
from analyzers.contract import CLUSTERINGS, PROTOCOLS
from analyzers.memory import SharedBlock

CGROUPS_ASIDE = int(lib.FS_CGROUPS_ASIDE)
_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000
_UNDECODED = 255  # protocol number of a port rule that leaves the port undecoded
_SLOW = {"dns": 100 * _MILLISECOND}
_BUCKETS = tuple(bound * _MILLISECOND for bound in (5, 10, 25, 50, 100, 250, 500, 2500))


@dataclass(frozen=True, slots=True)
class PortRule:
    """A server port whose protocol is told rather than recognised; None leaves the port undecoded."""

    port: int
    protocol: str | None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One for one the fields of struct fs_engine_config, with the defaults of the documented configuration.

    Times are nanoseconds, sizes bytes. A row that was idle for `early_idle_ns` may end when the table is nearly full (0:
    none does): set it only where somebody takes the values of all rows more often than that. `slow_ns` has protocol names as keys; one that is missing gets
    `slow_default_ns`. `bucket_ns` are the ascending upper bounds of the histogram. `sample_rate` is requests per
    second, `sample_per_edge` the same for one edge, `sample_normal_permille` the share of healthy requests.
    `parse_bytes` of an I/O reach the parsers, `stream_bytes` once pipelining is known; `capture_bytes` may leave the
    engine, and of what nobody decodes `undecoded_bytes`, unblanked, for plugins of the agent alone. `poll_us` is the longest sleep while nothing happens. `excluded_netns` are inode numbers. `count_verbs` makes
    a row of each HTTP method, `count_fine` counts durations in buckets fit for exponential histograms as well. What is
    `unwanted` is not counted; a path that ends in * stands for all that begin so. Owners in `cgroups_aside` (ids, any
    order, CGROUPS_ASIDE at most) are counted only where the other end of a conversation is on this node and is not.
    """

    max_connections: int = 65536
    contents_per_workload: int = 50
    row_limit: int = lib.FS_ROWS
    tcp_row_limit: int = lib.FS_TCP_ROWS
    connection_idle_ns: int = 7200 * _SECOND
    row_idle_ns: int = 3600 * _SECOND
    early_idle_ns: int = 0
    no_response_ns: int = 120 * _SECOND
    slow_ns: Mapping[str, int] = field(default_factory=_SLOW.copy)
    slow_default_ns: int = 500 * _MILLISECOND
    bucket_ns: tuple[int, ...] = _BUCKETS
    protocols_enabled: frozenset[str] = frozenset(PROTOCOLS)
    sample_rate: int = 200
    sample_per_edge: int = 5
    sample_normal_permille: int = 0
    capture_bytes: int = 0
    undecoded_bytes: int = 0
    parse_bytes: int = 512
    stream_bytes: int = 4096
    poll_us: int = 20_000
    url_clustering: str = "alphabet"
    dns_nxdomain_is_error: bool = True
    measure: bool = False
    message_mode: bool = True
    port_rules: tuple[PortRule, ...] = ()
    excluded_netns: tuple[int, ...] = ()
    count_verbs: bool = False
    count_fine: bool = False
    protocols_unwanted: frozenset[str] = frozenset()
    unwanted_comms: tuple[str, ...] = ()
    unwanted_paths: tuple[str, ...] = ()
    cgroups_aside: tuple[int, ...] = ()


# What is more than a number under the same name; the rest is copied as it is.
_SHAPED = {
    "slow_ns",
    "slow_default_ns",
    "bucket_ns",
    "protocols_enabled",
    "url_clustering",
    "port_rules",
    "excluded_netns",
    "protocols_unwanted",
    "unwanted_comms",
    "unwanted_paths",
    "cgroups_aside",
}
_PLAIN = tuple(setting.name for setting in fields(EngineSettings) if setting.name not in _SHAPED)


class ConfigBlock:
    """The configuration in shared memory. The engine maps it read-only and rereads it when its generation grows."""

    def __init__(self, settings: EngineSettings) -> None:
        """Raises ValueError, naming the setting, for what the block cannot hold."""
        self._block = SharedBlock.create("firesteel-config", "struct fs_engine_config")
        self._config: Any = self._block.pointer
        self._config.magic = lib.FS_TABLE_MAGIC
        self._config.version = lib.FS_TABLE_VERSION
        self._settings = settings
        self._switched_off: frozenset[str] = frozenset()
        try:
            self.apply(settings)
        except ValueError:
            self._block.close()
            raise

    @property
    def fd(self) -> int:
        return self._block.fd

    @property
    def pointer(self) -> Any:
        """The struct itself, for tests that run an engine in this process."""
        return self._config

    @property
    def settings(self) -> EngineSettings:
        return self._settings

    @property
    def switched_off(self) -> frozenset[str]:
        """Protocols that stay off whatever the settings say, because their parser crashed the engine."""
        return self._switched_off

    def apply(self, settings: EngineSettings) -> None:
        """Makes `settings` the ones in force; on ValueError the old ones stay."""
        staged: Any = ffi.new("struct fs_engine_config *")
        _fill(staged, settings, self._switched_off)
        self._settings = settings
        target = self._config
        staged.magic, staged.version, staged.stop = target.magic, target.version, target.stop
        staged.generation = target.generation
        ffi.memmove(target, staged, ffi.sizeof("struct fs_engine_config"))
        target.generation += 1

    def switch_off(self, protocol: str) -> None:
        """Takes a protocol out for as long as this block lives."""
        self._switched_off |= {protocol}
        self.apply(self._settings)

    def ask_to_stop(self, stop: bool = True) -> None:
        """Tells the engine to finish what is in the ring and exit; False before it is started again."""
        self._config.stop = int(stop)

    def close(self) -> None:
        self._config = None
        self._block.close()


def _fill(config: Any, settings: EngineSettings, switched_off: frozenset[str]) -> None:
    for name in _PLAIN:
        try:
            setattr(config, name, getattr(settings, name))
        except (OverflowError, TypeError) as error:
            raise ValueError(f"engine setting {name} = {getattr(settings, name)!r}: {error}") from error
    if settings.url_clustering not in CLUSTERINGS:
        raise ValueError(
            f"engine setting url_clustering = {settings.url_clustering!r}: one of {', '.join(CLUSTERINGS)}"
        )
    config.url_clustering = CLUSTERINGS.index(settings.url_clustering)
    _fill_array(config.bucket_ns, "bucket_ns", settings.bucket_ns, exact=True)
    if list(settings.bucket_ns) != sorted(set(settings.bucket_ns)):
        raise ValueError(f"engine setting bucket_ns = {settings.bucket_ns}: bounds must ascend")
    _fill_array(config.excluded_netns, "excluded_netns", settings.excluded_netns, exact=False)
    for number in range(len(config.slow_ns)):
        name = PROTOCOLS[number] if number < len(PROTOCOLS) else ""
        config.slow_ns[number] = settings.slow_ns.get(name, settings.slow_default_ns)
    for name in settings.protocols_enabled - switched_off:
        config.protocols_enabled |= 1 << _protocol(name, "protocols_enabled")
    for name in settings.protocols_unwanted:
        config.protocols_unwanted |= 1 << _protocol(name, "protocols_unwanted")
    _fill_texts(config.unwanted_comm, "unwanted_comms", settings.unwanted_comms)
    _fill_paths(config.unwanted_paths, settings.unwanted_paths)
    _fill_array(config.cgroup_aside, "cgroups_aside", tuple(sorted(settings.cgroups_aside)), exact=False)
    config.cgroups_aside = len(settings.cgroups_aside)
    if len(settings.port_rules) > len(config.port_rule):
        raise ValueError(
            f"engine setting port_rules: {len(settings.port_rules)} rules, at most {len(config.port_rule)}"
        )
    config.port_rules = len(settings.port_rules)
    for number, rule in enumerate(settings.port_rules):
        config.port_rule[number].port = rule.port
        config.port_rule[number].protocol = (
            _UNDECODED if rule.protocol is None else _protocol(rule.protocol, "port_rules")
        )


def _fill_array(target: Any, name: str, values: tuple[int, ...], *, exact: bool) -> None:
    if len(values) > len(target) or (exact and len(values) != len(target)):
        raise ValueError(
            f"engine setting {name}: {len(values)} values, {'exactly' if exact else 'at most'} {len(target)}"
        )
    for number, value in enumerate(values):
        target[number] = value


def _fill_texts(target: Any, name: str, texts: tuple[str, ...]) -> None:
    """Each with the 0 that ends it."""
    if len(texts) > len(target):
        raise ValueError(f"engine setting {name}: {len(texts)} values, at most {len(target)}")
    for number, text in enumerate(texts):
        raw = text.encode()
        if len(raw) >= len(target[number]):
            raise ValueError(f"engine setting {name} = {text!r}: at most {len(target[number]) - 1} bytes")
        ffi.memmove(target[number], raw, len(raw))


def _fill_paths(rules: Any, paths: tuple[str, ...]) -> None:
    if len(paths) > len(rules.rule):
        raise ValueError(f"engine setting unwanted_paths: {len(paths)} values, at most {len(rules.rule)}")
    rules.count = len(paths)
    for rule, path in zip(rules.rule, paths, strict=False):
        raw = path.removesuffix("*").encode()
        if len(raw) > len(rule.text):
            raise ValueError(f"engine setting unwanted_paths = {path!r}: at most {len(rule.text)} bytes")
        rule.length, rule.is_prefix = len(raw), path.endswith("*")
        ffi.memmove(rule.text, raw, len(raw))


def _protocol(name: str, setting: str) -> int:
    if name not in PROTOCOLS:
        raise ValueError(f"engine setting {setting}: no protocol {name!r}, only {', '.join(PROTOCOLS)}")
    return PROTOCOLS.index(name)
