# SPDX-License-Identifier: Apache-2.0
"""The chart's schema of `config`: it takes what the agent takes, and refuses keys and forms that the agent refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from collector.config import ConfigError, Source, parse
from collector.schema import KEYS
from scripts import values_schema

SCHEMA = json.loads(values_schema.SCHEMA.read_text())
VALIDATOR = Draft7Validator(SCHEMA)


def faults(values: dict[str, Any]) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(values)]


def agent_takes(config: dict[str, Any]) -> bool:
    """Of what Helm writes: names of JSON, quoted where YAML would read something else."""
    text = yaml.safe_dump(json.loads(json.dumps(config)))
    try:
        parse(text.encode(), Source(Path("firesteel.yaml"), True))
    except ConfigError:
        return False
    return True


def test_it_is_what_the_table_says() -> None:
    assert values_schema.SCHEMA.read_text() == values_schema.whole(), "make docs"


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_it_knows_every_key_and_takes_every_default() -> None:
    config: dict[str, Any] = {}
    for row in KEYS:
        if row.path in values_schema.OF_AGENTS:
            continue
        part = config
        for name in row.path[:-1]:
            part = part.setdefault(name, {})
        part[row.path[-1]] = yaml.safe_load(row.default)
    assert faults({"config": config}) == []
    assert agent_takes(config)
    del config["listen"]["names"]
    assert faults({"names": {"config": config}}) == []


@pytest.mark.parametrize(
    "config",
    [
        {"kubernetes": {"enabled": True}},
        {"kubernetes": {"enabled": "false"}},
        {"protocols": {"enabled": "default", "ports": {"8080": "http"}, "slow": {"default": "1m30s"}}},
        {"protocols": {"enabled": ["http", "dns"], "ports": {}}},
        {"samples": {"normal": 1}},
        {"listen": {"api": "off", "tls": None}},
        {"listen": {"api": "[::1]:9501", "auth": "/etc/token"}},
        {"budget": {"memory": "300 MiB"}},
        {"ring": {"size": "4096B"}},
        {"ring": {"size": "1048576 KiB"}},
        {"export": {"otlp": {"endpoint": "https://collector:4317", "headers": {"x-token": "@/etc/token"}}}},
        {"export": {"otlp": {"headers": {"x-token": "t" * 4096}}}},
        {"log": None},
    ],
)
def test_it_takes_what_the_agent_takes(config: dict[str, Any]) -> None:
    assert agent_takes(config)
    assert faults({"config": config}) == []


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"ring": {"sise": "8MiB"}}, "'sise' was unexpected"),
        ({"rings": {}}, "'rings' was unexpected"),
        ({"export": {"otlp": {"tls": {"cacert": "/x"}}}}, "'cacert' was unexpected"),
        ({"ring": {"size": 8388608}}, "8388608 is not of type 'string'"),
        ({"ring": {"size": "8MB"}}, "'8MB' does not match"),
        ({"ring": {"size": "3MiB"}}, "'3MiB' does not match"),
        ({"ring": {"size": "2GiB"}}, "'2GiB' does not match"),
        ({"ring": "8MiB"}, "'8MiB' is not of type 'object', 'null'"),
        ({"log": {"level": "loud"}}, "'loud' is not one of"),
        ({"kubernetes": {"enabled": 1}}, "1 is not one of"),
        ({"samples": {"normal": 1.5}}, "1.5 is greater than the maximum of 1"),
        ({"samples": {"normal": "0.5"}}, "'0.5' is not of type 'number'"),
        ({"samples": {"rate": 1.5}}, "1.5 is not of type 'integer'"),
        ({"connections": {"max": 63}}, "63 is less than the minimum of 64"),
        ({"connections": {"idle": "2 hours"}}, "'2 hours' does not match"),
        ({"requests": {"dns_nxdomain_is_error": "true"}}, "'true' is not of type 'boolean'"),
        ({"listen": {"api": False}}, "False is not of type 'string'"),
        ({"listen": {"api": "9501"}}, "'9501' does not match"),
        ({"kernel": {"btf": "vmlinux"}}, "'vmlinux' does not match"),
        ({"scope": {"exclude_ports": [22, 22]}}, "[22, 22] has non-unique elements"),
        ({"scope": {"exclude_ports": 22}}, "22 is not of type 'array'"),
        ({"metrics": {"drop_labels": ["colour"]}}, "'colour' is not one of"),
        ({"protocols": {"slow": {"htp": "1s"}}}, "'htp' is not one of"),
        ({"protocols": {"ports": {"http": "http"}}}, "'http' does not match"),
        ({"protocols": {"enabled": "http"}}, "'http' is not valid under any of the given schemas"),
    ],
)
def test_it_refuses_what_the_agent_refuses(config: dict[str, Any], told: str) -> None:
    assert not agent_takes(config)
    for values in ({"config": config}, {"names": {"config": config}}):
        (fault,) = faults(values)
        assert told in fault


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"config": {"driver": ["core"]}}, "driver"),
        ({"config": {"listen": {"metrics": ":9600"}}}, "metrics"),
        ({"names": {"config": {"listen": {"metrics": ":9600"}}}}, "metrics"),
        ({"names": {"config": {"listen": {"names": ":9600"}}}}, "names"),
        ({"names": {"config": {"driver": ["core"]}}}, "driver"),
    ],
)
def test_it_refuses_what_the_chart_sets(values: dict[str, Any], name: str) -> None:
    (fault,) = faults(values)
    assert f"('{name}' was unexpected)" in fault


def test_every_kind_has_a_schema() -> None:
    class Colour:
        """Of a table of tomorrow."""

    with pytest.raises(TypeError, match="no schema for a Colour"):
        values_schema.of_kind(Colour())  # type: ignore[arg-type]


def test_no_part_is_repeated_more_often_than_helm_can_count() -> None:
    most = [int(number) for number in re.findall(r"\{\d+,(\d+)\}", json.dumps(SCHEMA))]
    assert max(most) <= 1000
