# SPDX-License-Identifier: Apache-2.0
"""Faulty configurations: each is refused with place, value, what is allowed and the nearest name, and never taken over."""

import csv
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from collector.check_config import effective_yaml
from collector.config import ConfigError, Loaded, Origin, Source, find_source, load, parse
from collector.config_rules import broken_rules, not_yet
from collector.document import MOST_BYTES
from collector.kinds import Endpoint
from collector.metrics_keys import LABELS
from collector.schema import BY_NAME, KEYS, Config, value_of
from collector.schema_page import page
from collector.watcher import ConfigWatcher, Rejected, Reloaded

HERE = Path(__file__).parent
FAULTY = HERE / "faulty-configs"
ROOT = HERE.parent.parent
MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND


def _table() -> list[dict[str, str]]:
    with (FAULTY / "expected.tsv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


EXPECTED = _table()


def read_text(text: str, *settings: str, environment: Mapping[str, str] | None = None) -> Loaded:
    """The configuration of a file with this text."""
    source = Source(Path("firesteel.yaml"), True, settings, tuple((environment or {}).items()))
    return parse(text.encode(), source)


def faults(text: str, *settings: str, environment: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_text(text, *settings, environment=environment)
    return [str(fault) for fault in caught.value.faults]


def test_the_table_names_every_file_once() -> None:
    assert sorted(row["file"] for row in EXPECTED) == sorted(path.name for path in FAULTY.glob("*.yaml"))
    assert len(EXPECTED) >= 50


@pytest.mark.parametrize("row", EXPECTED, ids=[row["file"] for row in EXPECTED])
def test_a_faulty_file_is_refused_with_place_value_allowed_and_nearest(row: dict[str, str]) -> None:
    path = FAULTY / row["file"]
    with pytest.raises(ConfigError) as caught:
        load(Source(path, True))
    (fault,) = caught.value.faults
    told = {name: str(value) for name, value in dataclasses.asdict(fault).items()}
    assert told == {"origin": str(path), **{name: row[name] for name in row if name != "file"}}
    assert str(fault).startswith(f"{path}:{row['line']}: ")
    for part in ("key", "message", "allowed", "nearest"):
        assert row[part] in str(fault)


@pytest.mark.parametrize("row", EXPECTED, ids=[row["file"] for row in EXPECTED])
def test_a_faulty_file_that_comes_while_running_leaves_the_old_in_force(row: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "firesteel.yaml"
    path.write_text("log: {level: warning}\n", encoding="utf-8")
    loaded = load(Source(path, True))
    watcher = ConfigWatcher(loaded)
    assert watcher.poll() is None
    path.write_bytes((FAULTY / row["file"]).read_bytes())
    told = watcher.poll()
    assert isinstance(told, Rejected)
    assert [(str(fault.line), fault.message) for fault in told.faults] == [(row["line"], row["message"])]
    assert watcher.config == loaded.config
    assert watcher.faults == told.faults
    assert watcher.rejections == 1
    assert watcher.poll() is None, "the same fault is told once"
    path.write_text("log: {level: error}\n", encoding="utf-8")
    recovered = watcher.poll()
    assert isinstance(recovered, Reloaded)
    assert recovered.changed == ("log.level",)
    assert watcher.faults == ()


def test_a_configuration_of_kindling_is_told_as_such() -> None:
    told = faults("receivers:\n  cgoreceiver: {}\nanalyzers: {}\ncolour: blue\n")
    place = " docs/from-kindling.md has both side by side (allowed: driver | "
    assert [place in fault for fault in told] == [True, True, False]
    assert told[0].startswith("firesteel.yaml:1: receivers: is a key of Kindling, not of Firesteel;")
    assert not any("did you mean" in fault for fault in told)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = "drivr: core\nring: {size: 9MiB}\nlisten:\n  metrics: 9500\n  api: '127.0.0.1:x'\nlog: {level: inf}\n"
    assert len(faults(text, "log.levl=debug", environment={"FIRESTEEL_LOG__FORMAT": "xml"})) == 7


def test_no_file_means_the_documented_defaults() -> None:
    config = load(Source(None, False)).config
    assert config == Config()
    assert config.drivers == ("core", "bcc", "kmod", "none")
    assert config.ring.size == 8 * 1024 * 1024
    assert config.connections.idle == 2 * 3600 * SECOND
    assert dict(config.protocols.slow) == {
        "http": 500 * MILLISECOND,
        **dict.fromkeys(("mysql", "redis", "dns", "kafka"), 100 * MILLISECOND),
        "default": 500 * MILLISECOND,
    }
    assert config.protocols.slow_ns("postgresql") == 500 * MILLISECOND
    assert config.requests.no_response == 120 * SECOND
    assert config.listen.metrics == Endpoint("127.0.0.1", 9500)
    assert config.listen.api == Endpoint("127.0.0.1", 9501)
    assert broken_rules(config) == []
    assert not_yet(config) == []


def test_the_contract_of_names_and_defaults_holds() -> None:
    """The file of the design, as a person would write it out: every key is there and nothing differs."""
    text = """
driver: auto
ring: {size: 8MiB}
kernel: {btf: ""}
scope: {exclude_namespaces: [], exclude_ports: [], exclude_comms: [], own_traffic: false}
connections: {max: 65536, idle: 2h}
protocols:
  {enabled: default, ports: {}, slow: {http: 500ms, mysql: 100ms, redis: 100ms, dns: 100ms, kafka: 100ms, default: 500ms}}
requests: {url_clustering: alphabet, dns_nxdomain_is_error: true, no_response: 120s}
payload: {capture_bytes: 0, parse_bytes: 512, stream_bytes: 4096, redact: standard}
samples: {rate: 200, per_edge: 5, normal: 0.0}
metrics:
  {prefix: kindling, detail: auto, pod_detail_namespaces: [], histograms: entity, scrape_interval: 30s,
   ttl: {counter: 1h, gauge: 5m}, rows: {entity: 5000, topology: 5000, tcp: 5000, trace: 3000},
   contents_per_workload: 50, outside_addresses: 500, process_info: false, drop_labels: [], cluster_label: ""}
kubernetes: {enabled: auto, kubeconfig: "", names: auto, tombstones: 5m}
listen: {metrics: "127.0.0.1:9500", api: "127.0.0.1:9501", tls: {}, auth: none}
export: {otlp: {endpoint: "", spans: false}, jsonl: {path: ""}}
log: {level: info, format: logfmt, repeat_every: 1m}
"""
    loaded = read_text(text)
    assert loaded.config == Config()
    later = {
        name
        for name in BY_NAME
        if name.startswith(
            (
                "export.otlp.",
                "protocols.plugins",
                "export.jsonl.",
                "scope.exclude_p",
                "listen.tls.",
                "listen.metrics_auth",
                "listen.names",
                "kubernetes.names_",
                "kernel.",
                "budget.",
                "scope.exclude_workloads",
            )
        )
    }
    assert set(loaded.origins) >= set(BY_NAME) - later
    assert set(loaded.origins) >= {"export.otlp.endpoint", "export.otlp.spans", "export.jsonl.path"}
    assert {row.name for row in KEYS if row.restart} == {
        "protocols.plugins",
        "driver", "ring.size", "kernel.btf", "connections.max", "listen.names",
    }  # fmt: skip


def test_every_key_can_be_set_and_says_who_set_it() -> None:
    text = """
driver: [none, core]
ring: {size: 64KiB}
scope: {exclude_namespaces: [kube-system], exclude_ports: [22, 53], exclude_comms: ["sshd", 'a b'], own_traffic: true}
protocols: {enabled: [http, dns], ports: {8080: http, 3306: none}, slow: {http: 1s, grpc: 1m30s}}
samples: {normal: 0.25}
metrics: {detail: workload, histograms: both, drop_labels: [container_id], cluster_label: "eu 1"}
listen: {metrics: off, api: "[::1]:0", auth: /run/token}
export: {jsonl: {path: "-"}}
"""
    config = read_text(text).config
    assert config.drivers == ("none", "core")
    assert config.ring.size == 65536
    assert config.scope.exclude_ports == (22, 53)
    assert config.scope.exclude_comms == ("sshd", "a b")
    assert config.protocols.enabled == ("http", "dns")
    assert dict(config.protocols.ports) == {8080: "http", 3306: "none"}
    assert config.protocols.slow_ns("http") == SECOND
    assert config.protocols.slow_ns("grpc") == 90 * SECOND
    assert config.protocols.slow_ns("dns") == 100 * MILLISECOND, "what is not named keeps its default"
    assert config.samples.normal == 0.25
    assert config.metrics.drop_labels == ("container_id",)
    assert config.metrics.cluster_label == "eu 1"
    assert config.listen.metrics is None
    assert config.listen.api == Endpoint("::1", 0)
    assert config.listen.token_file == "/run/token"
    assert config.export.jsonl.path == "-"


def test_standard_output_needs_no_quotes_in_an_option_or_a_variable() -> None:
    assert read_text("", "export.jsonl.path=-").config.export.jsonl.path == "-"
    environment = {"FIRESTEEL_EXPORT__JSONL__PATH": "-"}
    assert read_text("", environment=environment).config.export.jsonl.path == "-"


def test_names_that_are_numbers_may_be_quoted_as_json_has_them() -> None:
    assert dict(read_text('{"protocols": {"ports": {"8080": "http"}}}').config.protocols.ports) == {8080: "http"}
    assert faults('protocols: {ports: {8080: http, "8080": dns}}') == [
        'firesteel.yaml:1: protocols.ports: "8080" is there twice (allowed: each name once)'
    ]


def test_what_check_config_prints_reads_back_as_the_same() -> None:
    loaded = read_text(
        "driver: none\nscope: {exclude_comms: ['on', 'a: b', \"x'y\"], exclude_ports: [1]}\n"
        "protocols: {ports: {80: http}, slow: {tls: 3ms}}\nsamples: {normal: 0.125}\nmetrics: {cluster_label: '0'}\n"
        "listen: {metrics: off, api: '[::1]:1'}\nlog: {repeat_every: 0s}\n"
    )
    lines = effective_yaml(loaded)
    again = read_text("\n".join(lines))
    assert again.config == loaded.config
    assert "driver: none  # set by firesteel.yaml:1" in lines
    assert "  size: 8MiB" in lines


def test_a_size_is_bounded_before_it_is_parsed() -> None:
    assert faults("#" * (MOST_BYTES + 1)) == ["firesteel.yaml: is 262145 bytes long (allowed: at most 262144 bytes)"]


def test_a_mapping_that_contains_itself_ends() -> None:
    assert faults("listen: &loop {tls: *loop}") == [
        "firesteel.yaml:1: listen.tls.tls: there is no such key in listen.tls (allowed: cert | key)"
    ]


def test_sections_without_keys_are_allowed() -> None:
    assert read_text("log:\nring: {}\n# nothing\nlisten:\n  tls:\n").config == Config()
    assert read_text("").config == Config()
    assert read_text("# only a comment\n").config == Config()


# --- variables and options


def test_options_go_before_variables_and_variables_before_the_file() -> None:
    text = "log: {level: error, format: json}\nring: {size: 4MiB}\n"
    loaded = read_text(
        text,
        "log.level=debug",
        environment={"FIRESTEEL_LOG__LEVEL": "warning", "FIRESTEEL_RING__SIZE": "16MiB", "FIRESTEEL_DRIVER": "none"},
    )
    assert loaded.config.log.level == "debug"
    assert loaded.config.log.format == "json"
    assert loaded.config.ring.size == 16 << 20
    assert loaded.config.driver == ("none",)
    assert loaded.origins["log.level"] == Origin("--set log.level", 0)
    assert loaded.origins["ring.size"] == Origin("FIRESTEEL_RING__SIZE", 0)
    assert loaded.origins["log.format"] == Origin("firesteel.yaml", 1)
    assert loaded.beside_the_file() == {
        "driver": "FIRESTEEL_DRIVER", "log.level": "--set", "ring.size": "FIRESTEEL_RING__SIZE",
    }  # fmt: skip


def test_values_of_options_are_written_as_in_the_file() -> None:
    config = read_text(
        "protocols: {slow: {http: 2s}, ports: {80: http}}\n",
        "scope.exclude_ports=[22, 53]",
        "protocols.slow.dns=50ms",
        "protocols.ports.8080=dns",
        "listen.metrics=:9500",
        "metrics.cluster_label=",
        "driver=[core, none]",
    ).config
    assert config.scope.exclude_ports == (22, 53)
    assert config.protocols.slow_ns("http") == 2 * SECOND
    assert config.protocols.slow_ns("dns") == 50 * MILLISECOND
    assert dict(config.protocols.ports) == {80: "http", 8080: "dns"}
    assert config.listen.metrics == Endpoint("", 9500)
    assert config.driver == ("core", "none")


def test_a_name_inside_a_mapping_has_a_variable_too() -> None:
    config = read_text("", environment={"FIRESTEEL_PROTOCOLS__SLOW__HTTP": "3s"}).config
    assert config.protocols.slow_ns("http") == 3 * SECOND


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("log.levl=debug", "--set log.levl: is not a key (allowed: a key of docs/config.md, did you mean log.level?)"),
        ("log.level", "--set log.level: has no value (allowed: KEY=VALUE, such as log.level=debug)"),
        ("ring=8MiB", "--set ring: is a section (allowed: ring.size, did you mean ring.size?)"),
        (
            "log.level=debgu",
            (
                '--set log.level: log.level: "debgu" is not one of the choices '
                "(allowed: debug | info | warning | error, did you mean debug?)"
            ),
        ),
        (
            "connections.max=[",
            (
                "--set connections.max: connections.max: is not YAML: while parsing a flow node of line 1, "
                "expected the node content, but found '<stream end>' (allowed: a whole number from 64 to 1048576)"
            ),
        ),
        (
            "connections.max=",
            (
                '--set connections.max: connections.max: "" is not a whole number '
                "(allowed: a whole number from 64 to 1048576)"
            ),
        ),
        (
            "protocols.ports.http=80",
            (
                '--set protocols.ports.http: protocols.ports: "http" is not a whole number '
                "(allowed: a whole number from 1 to 65535)"
            ),
        ),
    ],
)
def test_a_faulty_option_is_named(setting: str, told: str) -> None:
    assert faults("", setting) == [told]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "FIRESTEEL_RING__SIZE",
            "lots",
            'FIRESTEEL_RING__SIZE: ring.size: "lots" is not a size (allowed: a power of two with its unit, 4KiB to 1GiB)',
        ),
        (
            "FIRESTEEL_RING_SIZE",
            "8MiB",
            (
                "FIRESTEEL_RING_SIZE: no key has this variable (allowed: FIRESTEEL_ and a key, "
                "did you mean FIRESTEEL_RING__SIZE?)"
            ),
        ),
        (
            "FIRESTEEL_DRIVR",
            "core",
            "FIRESTEEL_DRIVR: no key has this variable (allowed: FIRESTEEL_ and a key, did you mean FIRESTEEL_DRIVER?)",
        ),
        (
            "FIRESTEEL_QQ__ZZ",
            "",
            "FIRESTEEL_QQ__ZZ: no key has this variable (allowed: FIRESTEEL_ and a key)",
        ),
    ],
)
def test_a_faulty_variable_is_named(name: str, value: str, told: str) -> None:
    assert faults("", environment={name: value}) == [told]


@pytest.mark.parametrize(
    "name",
    [
        "FIRESTEEL_SERVICE_HOST",
        "FIRESTEEL_SERVICE_PORT",
        "FIRESTEEL_SERVICE_PORT_METRICS",
        "FIRESTEEL_PORT",
        "FIRESTEEL_PORT_9500_TCP",
        "FIRESTEEL_PORT_9500_TCP_ADDR",
        "FIRESTEEL_NAMES_SERVICE_HOST",
        "FIRESTEEL_NAMES_PORT_9502_TCP_PROTO",
        "FIRESTEEL_REQUIRED_GROUPS",
        "FIRESTEEL_LOG_DIR",
    ],
)
def test_what_kubernetes_sets_beside_a_service_is_not_ours(name: str) -> None:
    assert read_text("", environment={name: "tcp://10.0.0.1:9500"}).config == Config()


# --- where the file is


def test_the_option_goes_before_the_variable_and_the_variable_before_the_default(tmp_path: Path) -> None:
    environment = {"FIRESTEEL_CONFIG": "/a.yaml", "HOME": "/root", "FIRESTEEL_LOG__LEVEL": "debug"}
    assert find_source("/b.yaml", (), environment).path == Path("/b.yaml")
    assert find_source(None, (), environment) == Source(
        Path("/a.yaml"), True, (), (("FIRESTEEL_CONFIG", "/a.yaml"), ("FIRESTEEL_LOG__LEVEL", "debug"))
    )
    found = find_source(None, (), {})
    assert (found.path, found.required) == (Path("/etc/firesteel/firesteel.yaml"), False)
    assert load(dataclasses.replace(found, path=tmp_path / "none.yaml")).config == Config()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "there is no such file (allowed: a YAML file)"),
        (Path.mkdir, "cannot be read: Is a directory (allowed: a readable YAML file)"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(make, told: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "firesteel.yaml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        load(Source(path, True))
    assert str(caught.value) == f"{path}: {told}"


# --- while running


def test_a_changed_file_is_applied_but_for_what_waits_for_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "firesteel.yaml"
    path.write_text("driver: core\nlog: {level: info}\n", encoding="utf-8")
    watcher = ConfigWatcher(load(Source(path, True)))
    assert watcher.poll() is None
    path.write_text("driver: none\nring: {size: 1MiB}\nlog: {level: debug}\n", encoding="utf-8")
    told = watcher.poll()
    assert isinstance(told, Reloaded)
    assert told.changed == ("log.level",)
    assert told.waiting == ("driver", "ring.size")
    assert told.config.driver == ("core",)
    assert told.config.ring.size == 8 << 20
    assert told.config.log.level == "debug"
    assert watcher.poll() is None
    path.write_text("driver: core\nlog: {level: debug}\n", encoding="utf-8")
    back = watcher.poll()
    assert isinstance(back, Reloaded)
    assert (back.changed, back.waiting) == ((), ())


def test_options_stay_in_force_over_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "firesteel.yaml"
    path.write_text("log: {level: info}\n", encoding="utf-8")
    watcher = ConfigWatcher(load(Source(path, True, ("log.level=error",))))
    watcher.poll()
    path.write_text("log: {level: debug, format: json}\n", encoding="utf-8")
    told = watcher.poll()
    assert isinstance(told, Reloaded)
    assert told.changed == ("log.format",)
    assert told.config.log.level == "error"


def test_a_configmap_that_is_swapped_is_noticed(tmp_path: Path) -> None:
    for name, level in (("..first", "info"), ("..second", "debug")):
        (tmp_path / name).mkdir()
        target = tmp_path / name / "firesteel.yaml"
        target.write_text(f"log: {{level: {level}}}\n", encoding="utf-8")
        os.utime(target, (1, 1))  # same size, same time: only the inode tells them apart
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "firesteel.yaml").symlink_to("..data/firesteel.yaml")
    watcher = ConfigWatcher(load(Source(tmp_path / "firesteel.yaml", True)))
    assert watcher.poll() is None
    (tmp_path / "..data_tmp").symlink_to("..second")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    told = watcher.poll()
    assert isinstance(told, Reloaded)
    assert told.changed == ("log.level",)


def test_two_writes_in_one_moment_are_both_noticed(tmp_path: Path) -> None:
    path = tmp_path / "firesteel.yaml"
    path.write_text("log: {level: info }\n", encoding="utf-8")
    now = path.stat().st_mtime_ns
    watcher = ConfigWatcher(load(Source(path, True)), wall_ns=lambda: now + SECOND)
    watcher.poll()
    path.write_text("log: {level: debug}\n", encoding="utf-8")
    os.utime(path, ns=(now, now))  # same size, same inode, same time
    assert isinstance(watcher.poll(), Reloaded)
    assert watcher.poll() is None


def test_an_old_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "firesteel.yaml"
    path.write_text("log: {level: info}\n", encoding="utf-8")
    later = path.stat().st_mtime_ns + 60 * SECOND
    watcher = ConfigWatcher(load(Source(path, True)), wall_ns=lambda: later)
    watcher.poll()
    monkeypatch.setattr(Path, "read_bytes", lambda _path: pytest.fail("the file was read"))
    assert watcher.poll() is None


def test_a_signal_reads_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "firesteel.yaml"
    path.write_text("log: {level: info}\n", encoding="utf-8")
    watcher = ConfigWatcher(load(Source(path, True)))
    watcher.poll()
    watcher.request()
    told = watcher.poll()
    assert isinstance(told, Reloaded), "whoever sent the signal wants an answer"
    assert told.changed == ()
    assert watcher.poll() is None


def test_a_file_that_goes_away_leaves_the_old_in_force(tmp_path: Path) -> None:
    path = tmp_path / "firesteel.yaml"
    path.write_text("log: {level: debug}\n", encoding="utf-8")
    watcher = ConfigWatcher(load(Source(path, True)))
    watcher.poll()
    path.unlink()
    told = watcher.poll()
    assert isinstance(told, Rejected)
    assert told.faults[0].message == "there is no such file"
    assert watcher.config.log.level == "debug"
    assert watcher.poll() is None
    path.write_text("log: {level: debug}\n", encoding="utf-8")
    assert isinstance(watcher.poll(), Reloaded), "the same text again ends the fault"
    assert watcher.faults == ()


def test_a_default_file_that_appears_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "firesteel.yaml"
    watcher = ConfigWatcher(load(Source(path, False)))
    assert watcher.poll() is None
    path.write_text("log: {level: debug}\n", encoding="utf-8")
    told = watcher.poll()
    assert isinstance(told, Reloaded)
    assert told.changed == ("log.level",)


# --- one table


def test_the_documentation_is_what_the_table_says() -> None:
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == page(), (
        "run: python -m collector.schema > docs/config.md"
    )


def test_the_documented_default_file_is_the_default() -> None:
    block = page().split("```yaml\n")[1].split("```")[0]
    assert read_text(block).config == Config()


@pytest.mark.parametrize("row", KEYS, ids=[row.name for row in KEYS])
def test_every_key_writes_what_it_reads(row) -> None:  # type: ignore[no-untyped-def]
    default = value_of(Config(), row)
    text = row.kind.write(default)
    assert value_of(read_text("", f"{row.name}={text}").config, row) == default
    assert value_of(read_text("", environment={row.variable: text}).config, row) == default
    assert row.help.endswith(".")
    assert row.kind.allowed


def test_labels_that_can_be_dropped_are_those_of_the_registry() -> None:
    from exporters.registry import METRICS, OUTCOME_LABELS, PROCESS_LABELS

    traffic = [metric for metric in METRICS if metric.name.startswith("{prefix}")]
    labels = {label for metric in traffic for label in metric.labels} | {*OUTCOME_LABELS, *PROCESS_LABELS}
    assert labels == set(LABELS)


# --- part of the contract, not of this version


def test_what_this_version_does_not_do_is_accepted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.config_rules.DRIVERS_BUILT", ("core", "none"))
    loaded = read_text("driver: [kmod, core]")
    told = "driver: kmod: not in this version, passed over"
    assert not_yet(loaded.config) == [told]
    assert f"# {told}" in effective_yaml(loaded)


def test_the_names_service_can_be_switched_off_in_the_word_that_the_docs_use() -> None:
    loaded = read_text("kubernetes: {names: off}")
    assert loaded.config.kubernetes.names == "off"
    assert "names: off" in "\n".join(effective_yaml(loaded))
    assert read_text("kubernetes: {names: '[fd00::1]:9502'}").config.kubernetes.names == "[fd00::1]:9502"
