# SPDX-License-Identifier: Apache-2.0
"""Watching must not become much dearer than docs/benchmarks.md says."""

from __future__ import annotations

import pytest

from bench import tripwire


@pytest.mark.timeout(240)
def test_a_request_costs_no_fifth_more_than_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_QUICK", "1")
    recorded = tripwire.recorded_ratio()
    measured = tripwire.measured_ratio()
    assert not tripwire.tripped(measured, recorded), (
        f"CPU with agent / without: {measured:.3f}, recorded {recorded:.3f}"
    )
