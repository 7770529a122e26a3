# SPDX-License-Identifier: Apache-2.0
"""Every reason for which a name is missing is explained where the metric's help points to, in each language."""

import re
from pathlib import Path

import pytest

from analyzers import resolver
from collector.metadata import host
from exporters.registry_own import UNRESOLVED

ROOT = Path(__file__).parents[2]
CODE = (*ROOT.glob("analyzers/*.py"), *ROOT.glob("collector/metadata/*.py"))
_LITERAL = re.compile(r'reason="([a-z_]+)"|_service\(\w+, "([a-z_]+)"\)|"(no_process)"')


def reasons() -> set[str]:
    found = {text for path in CODE for match in _LITERAL.findall(path.read_text("utf-8")) for text in match if text}
    return found | {resolver.NOT_READ_YET, resolver.NOT_TOLD_YET, host._PROCESS_GONE}


def test_they_are_found_in_the_code() -> None:
    assert reasons() == {
        "outside", "no_owner_seen", "no_process", "node", "overflow", "peer_unknown", "service_only", "node_port",
        "not_read_yet", "pod_not_told_yet", "process_gone",
    }  # fmt: skip


def test_explain_has_a_sentence_for_each() -> None:
    assert set(resolver.MISSING_NAMES) == reasons() | {"process_unknown", "recording"}  # these two are of recordings


@pytest.mark.parametrize("page", ["docs/troubleshooting.md", "docs/zh/troubleshooting.md"])
def test_each_is_explained(page: str) -> None:
    assert "docs/troubleshooting.md" in UNRESOLVED.help
    text = (ROOT / page).read_text("utf-8")
    assert [reason for reason in sorted(reasons()) if f"`{reason}`" not in text] == []
