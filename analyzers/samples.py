# SPDX-License-Identifier: Apache-2.0
"""Sampled requests with the names of both ends."""

from dataclasses import dataclass

from analyzers.edges import Edge, Ends, edge_of, name_ends
from analyzers.resolver import Resolver
from analyzers.rows import Role, Sample


@dataclass(frozen=True, slots=True)
class NamedSample:
    """A whole request and who took part. `edge` is None if nobody could tell who asked; `ends` always tells both."""

    sample: Sample
    ends: Ends
    edge: Edge | None
    is_server: bool


def name_sample(sample: Sample, resolver: Resolver) -> NamedSample:
    """After who had the addresses when it began."""
    ends = name_ends(sample, resolver, sample.start_ns)
    edge = edge_of(sample, ends, sample.protocol, sample.l4)
    return NamedSample(sample, ends, edge, sample.role is Role.SERVER)
