# SPDX-License-Identifier: Apache-2.0
"""The bundled recording of real programs gives the same page, byte for byte, and the numbers its clients know.

After a change that is meant to change the page: `python tests/replay/test_demo.py` writes the golden file anew; read
the difference before it is committed.
"""

import difflib
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.agents import FIRESTEEL
from tests.pages import values

HERE = Path(__file__).resolve().parent
RECORDING = HERE.parent / "recordings" / "demo.fsrec"
GOLDEN = HERE / "demo.metrics"
REQUESTS = 130
"""What the clients of scripts/record-demo.py did: one request after the other, each asking DNS and nginx once."""


def page() -> str:
    return subprocess.run([*FIRESTEEL, "replay", str(RECORDING)], capture_output=True, text=True, check=True).stdout


def test_the_page_is_the_golden_one() -> None:
    difference = list(difflib.unified_diff(GOLDEN.read_text().splitlines(), page().splitlines(), lineterm="", n=0))
    assert not difference, "\n".join(difference[:40])


def test_the_numbers_are_those_of_the_clients() -> None:
    told = values(page(), "kindling_entity_request_total", "workload_name", "protocol", "response_content")
    by_server: Counter[tuple[str, str]] = Counter()
    for (name, protocol, _), count in told.items():
        by_server[name, protocol] += int(count)
    assert by_server["python", "http"] == by_server["nginx", "http"] == by_server["dnsmasq", "dns"] == REQUESTS
    assert told["dnsmasq", "dns", "NXDOMAIN"] == 78
    assert told["python", "http", "404"] == told["nginx", "http", "404"] == 26
    assert told["python", "http", "502"] == told["nginx", "http", "500"] == 26
    assert told["redis-server", "redis", "noerror"] == 32


if __name__ == "__main__":
    GOLDEN.write_text(page())
    sys.stdout.write(f"{GOLDEN.name} written\n")
