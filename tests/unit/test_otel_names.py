# SPDX-License-Identifier: Apache-2.0
"""Names over OTLP against the registry of the semantic conventions, as the official package carries it."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import semconv
from opentelemetry.semconv.schemas import Schemas

from analyzers.rows import Role
from analyzers.samples import name_sample
from exporters.otlp.conventions import Facts, tell
from exporters.otlp.spans import _more
from exporters.registry_otel import ATTRIBUTES, OPERATIONS, RESOURCE_ATTRIBUTES, SCHEMA_URL, WORKLOAD_ATTRIBUTES
from exporters.registry_traffic import PROCESS_LABELS, TRAFFIC
from tests.rows import FixedResolver, sample


def _constants() -> set[str]:
    names: set[str] = set()
    for root in map(Path, semconv.__path__):
        for path in (*root.glob("**/attributes/*_attributes.py"), *root.glob("**/metrics/*_metrics.py")):
            relative = path.relative_to(root).with_suffix("")
            module = importlib.import_module(".".join((semconv.__name__, *relative.parts)))
            names.update(value for value in vars(module).values() if isinstance(value, str))
    return names


def _deprecated() -> set[str]:
    """Names that the package says not to use any more."""
    names: set[str] = set()
    for root in map(Path, semconv.__path__):
        for path in root.glob("**/attributes/*_attributes.py"):
            text = path.read_text(encoding="utf-8")
            names.update(re.findall(r'^[A-Z0-9_]+: Final = "([^"]+)"\n"""\s*Deprecated: ', text, re.MULTILINE))
    return names


CONVENTION = _constants()
DEPRECATED = _deprecated()


def test_the_schema_is_one_that_there_is() -> None:
    assert SCHEMA_URL in {schema.value for schema in Schemas}


@pytest.mark.parametrize(
    "name",
    sorted(
        {attribute.name for attribute in ATTRIBUTES.values()}
        | {name for operation in OPERATIONS for name in (operation.name, *operation.attributes)}
        | {*RESOURCE_ATTRIBUTES, *WORKLOAD_ATTRIBUTES.values()}
    ),
)
def test_a_name_is_the_conventions_or_our_own(name: str) -> None:
    assert name in CONVENTION or name.startswith("firesteel.")
    assert name not in DEPRECATED


def test_the_registry_says_what_is_deprecated() -> None:
    assert {"http.method", "db.system", "net.peer.name"} <= DEPRECATED


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_only_what_is_documented_is_set(operation: Any) -> None:
    for protocol in operation.protocols:
        for status, failed, silent in (("200", False, False), ("503", True, False), ("", True, True)):
            content = "SELECT orders *" if protocol == "mysql" else "/shop.Cart/Add x"
            facts = Facts(operation.side, protocol, content, status, "answer", failed, silent, "db.shop", 80)
            told = tell(facts)
            assert told.metric == operation.name
            assert {name for name, _ in told.pairs} <= set(operation.attributes)
            assert ("error.type" in dict(told.pairs)) == failed


def test_what_a_span_has_beside_is_the_conventions_or_our_own() -> None:
    named = name_sample(sample(Role.CLIENT, connect_ns=1), FixedResolver())
    assert named.edge is not None
    for side in ("client", "server"):
        names = {name for name, _ in _more(side, named.sample, named.edge)}
        assert all(name in CONVENTION or name.startswith("firesteel.") for name in names)


def test_every_label_that_is_pushed_has_an_attribute() -> None:
    labels = {label for metric in TRAFFIC if metric.otel for label in metric.labels} | set(PROCESS_LABELS)
    assert labels == set(ATTRIBUTES)
    assert len({attribute.name for attribute in ATTRIBUTES.values()}) == len(ATTRIBUTES)
