# SPDX-License-Identifier: Apache-2.0
"""Every query of the documents on a real Prometheus: it is understood, and has results on made traffic."""

import pytest

from tests.documents import Block, blocks, pages
from tests.grafana.cluster import BANK, NAMELESS, SINCE, STEP_SECONDS
from tests.grafana.prometheus import Prometheus

QUERIES = [block for page in pages() for block in blocks(page) if block.language == "promql"]


def test_there_are_queries() -> None:
    assert len(QUERIES) > 20


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_a_query_has_results(prometheus: Prometheus, query: Block) -> None:
    # What is new has to be asked while something is: half an hour ago, nothing had been made yet.
    found = prometheus.ask(query.text, SINCE + 20 * STEP_SECONDS if "offset" in query.text else None)
    assert found, query.text
    assert all(row["value"][1] != "NaN" for row in found), query.text


def test_the_first_query_lists_who_outside_was_asked(prometheus: Prometheus) -> None:
    (first, *_) = [query for query in QUERIES if query.path.name == "promql.md"]
    found = {(row["metric"].get("dst_domain", ""), row["metric"]["dst_ip"]) for row in prometheus.ask(first.text)}
    assert found >= {(BANK.domain, BANK.ip), ("", NAMELESS.ip)}
    assert all(float(row["value"][1]) > 0 for row in prometheus.ask(first.text))
