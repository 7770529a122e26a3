# SPDX-License-Identifier: Apache-2.0
"""The example's own tests: a plugin is a class, and needs neither an agent nor traffic to be tested."""

import pytest

from analyzers.plugin import Outcome, Side
from tests.plugin_example.teatime import Teatime


@pytest.mark.parametrize(
    ("request_", "response", "expected"),
    [
        (b"BREW pot-17 earl-grey\n", b"202 brewing\n", Outcome("BREW earl-grey", "202", 202)),
        (b"BREW kettle-3 coffee\n", b"418 I am a kettle\n", Outcome("BREW coffee", "418", 418, is_error=True)),
        (b"WHEN pot-17\n", b"3 minutes\n", Outcome("WHEN", "3", 3)),
        (b"WHEN pot-17\n", b"", Outcome("WHEN")),
        (b"WHEN pot-17\n", b"soon", Outcome("WHEN")),
    ],
)
def test_what_was_asked_and_what_came_of_it(request_: bytes, response: bytes, expected: Outcome) -> None:
    plugin = Teatime()
    assert plugin.detect(request_)
    asked = plugin.frame(request_, Side.REQUEST)
    assert asked is not None
    assert asked.length == len(request_)
    assert plugin.stitch(asked, plugin.frame(response, Side.RESPONSE) if response else None) == expected


@pytest.mark.parametrize("data", [b"", b"BREW", b"GET / HTTP/1.1\r\n", b"BREW " + b"x" * 200, bytes(50)])
def test_what_is_not_teatime(data: bytes) -> None:
    assert not Teatime().detect(data)
