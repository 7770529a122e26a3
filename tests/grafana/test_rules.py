# SPDX-License-Identifier: Apache-2.0
"""Alerts and recording rules: promtool's unit tests, a test and a runbook for each, results on made traffic."""

import subprocess
from pathlib import Path

import pytest
import yaml

from exporters.grafana.rules import Recording, Rules
from tests.grafana.prometheus import Prometheus, program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "firesteel-rules.yaml"
TESTS = ROOT / "deploy" / "prometheus" / "firesteel-rules.test.yaml"
ALERTS = [alert.name for alert in Rules().alerts()]


@pytest.mark.parametrize(
    "arguments", [["check", "rules", str(RULES)], ["test", "rules", str(TESTS)]], ids=["check", "test"]
)
def test_promtool_is_content(arguments: list[str]) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_seen_firing_and_has_a_runbook(name: str) -> None:
    tests = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    fired = [
        case
        for test in tests
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == name and case["exp_alerts"]
    ]
    assert fired
    page = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8")
    assert page.splitlines()[1] == f"# {name}"
    for heading in ("## What it means", "## Look", "## Do"):
        assert heading in page


@pytest.mark.parametrize("rule", [r for r in Rules().recordings() if "firesteel:" not in r.expr], ids=lambda r: r.name)
def test_recording_rules_have_results(prometheus: Prometheus, rule: Recording) -> None:
    assert prometheus.ask(rule.expr)
