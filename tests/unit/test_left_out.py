# SPDX-License-Identifier: Apache-2.0
"""What explain says of addresses that the configuration leaves out."""

from dataclasses import replace

import pytest

from analyzers.resolver import Party
from collector.left_out import left_out
from collector.schema import Config, Scope

SCOPE = Config().scope
NOBODY = Party("n", "NOT_FOUND_INTERNAL", reason="no_owner_seen")
PYTHON = Party("n", "NOT_FOUND_INTERNAL", "process", "python3")
CART = Party("n", "shop", "Deployment", "cart")


@pytest.mark.parametrize(
    ("party", "port", "scope", "told"),
    [
        (NOBODY, 8000, SCOPE, []),
        (NOBODY, 8000, replace(SCOPE, exclude_ports=(22, 8000)), ["port 8000 is excluded by scope.exclude_ports: its new conversations are not observed"]),
        (NOBODY, 8001, replace(SCOPE, exclude_ports=(22, 8000)), []),
        (NOBODY, 8000, replace(SCOPE, exclude_comms=("node", "python3")), ["scope.exclude_comms leaves out these processes, of which it may be one: node, python3"]),
        (PYTHON, 8000, replace(SCOPE, exclude_comms=("node", "python3")), ["process python3 is excluded by scope.exclude_comms"]),
        (PYTHON, 8000, replace(SCOPE, exclude_comms=("node",)), []),
        (CART, 80, replace(SCOPE, exclude_namespaces=("shop",)), ["namespace shop is excluded by scope.exclude_namespaces"]),
        (CART, 80, replace(SCOPE, exclude_workloads=("shop/cart",)), ["workload shop/cart is excluded by scope.exclude_workloads"]),
        (CART, 80, replace(SCOPE, exclude_workloads=("shop/mail",)), []),
    ],
)  # fmt: skip
def test_what_leaves_it_out_is_named(party: Party, port: int, scope: Scope, told: list[str]) -> None:
    assert list(left_out(party, port, scope)) == told
