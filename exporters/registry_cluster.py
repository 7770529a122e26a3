# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics of what it asks of the API server and of the names service, and of that service itself."""

from typing import Final

from exporters.metric import Kind, Metric


def own(name: str, kind: Kind, unit: str, labels: tuple[str, ...], text: str, absent: str = "") -> Metric:
    """A metric of the agent's own. The OpenTelemetry name is the one of Prometheus less what its exporter appends."""
    otel = name.removesuffix("_total").removesuffix("_seconds").removesuffix("_bytes").replace("_", ".", 1)
    return Metric(name, otel, kind, unit, labels, text, absent)


WATCH_UP: Final = own(
    "firesteel_kubernetes_watch_up",
    "gauge",
    "1",
    ("resource",),
    "1 while a resource of the API server is being watched, 0 while names get stale. Look at RBAC and the API server's health.",
    "there is no cluster",
)
WATCH_AGE: Final = own(
    "firesteel_kubernetes_heard_age_seconds",
    "gauge",
    "s",
    ("resource",),
    "Since the API server last said anything of a resource. A watch is quiet for a minute at most: bookmarks come in between.",
    "there is no cluster",
)
API_REQUESTS: Final = own(
    "firesteel_kubernetes_requests_total",
    "counter",
    "{request}",
    (),
    "Requests to the API server. Its rate times the number of agents is what they cost it.",
    "there is no cluster",
)
API_BYTES: Final = own(
    "firesteel_kubernetes_received_bytes_total",
    "counter",
    "By",
    (),
    "Bytes of the API server's answers, unpacked. With the names service an agent only asks for its own node's pods.",
    "there is no cluster",
)
CONNTRACK_UP: Final = own(
    "firesteel_conntrack_up",
    "gauge",
    "1",
    (),
    "1 while translations of addresses are read, 0 where connection tracking cannot be: an edge to a Service then shows the Service, not the pod that answered. Where it is 1 and nat_learned of firesteel_engine_stat_total stays 0, nobody translates by conntrack.",
    "no driver is in place",
)
NAMES_UP: Final = own(
    "firesteel_names_up",
    "gauge",
    "1",
    (),
    "1 while the names service tells this agent what changes in the cluster, 0 while the API server is asked or names get stale.",
    "no names service is followed",
)
NAMES_AGE: Final = own(
    "firesteel_names_heard_age_seconds",
    "gauge",
    "s",
    (),
    "Since the names service last said anything; it does every ten seconds.",
    "no names service is followed",
)
NAMES_BYTES: Final = own(
    "firesteel_names_received_bytes_total",
    "counter",
    "By",
    (),
    "Bytes that the names service sent to this agent.",
    "no names service is followed",
)
NAMES_STARTS: Final = own(
    "firesteel_names_subscriptions_total",
    "counter",
    "{subscription}",
    ("how",),
    "How this agent came to follow the names service: told everything (whole), gone on where it was (resumed), or not at all (failed). fallback: the API server was asked instead.",
    "no names service is followed",
)
NAMES_AGENTS: Final = own(
    "firesteel_names_agents",
    "gauge",
    "{agent}",
    (),
    "Agents that follow this names service now. All replicas together should have as many as there are nodes.",
    "this is no names service",
)
NAMES_OBJECTS: Final = own(
    "firesteel_names_objects",
    "gauge",
    "{object}",
    ("resource",),
    "Objects of the cluster that this names service tells of.",
    "this is no names service",
)
NAMES_SERVED: Final = own(
    "firesteel_names_streams_total",
    "counter",
    "{stream}",
    ("how",),
    "Streams of this names service: whole, resumed, fell_behind (the agent was too slow and begins anew), or why one was refused: token, version, not_ready, too_many.",
    "this is no names service",
)
NAMES_SENT: Final = own(
    "firesteel_names_sent_bytes_total",
    "counter",
    "By",
    (),
    "Bytes that this names service sent to agents, before TLS.",
    "this is no names service",
)
NAMES_HISTORY: Final = own(
    "firesteel_names_history_bytes",
    "gauge",
    "By",
    (),
    "Changes that this names service keeps, packed, so that an agent can go on where it was; 16 MiB at most.",
    "this is no names service",
)
NAMES_LEFT_OUT: Final = own(
    "firesteel_names_left_out_total",
    "counter",
    "{object}",
    (),
    "Objects beyond this names service's limits (200 000 pods, 100 000 of any other kind), of which agents are not told.",
    "this is no names service",
)

CLUSTER: Final = (
    WATCH_UP,
    WATCH_AGE,
    API_REQUESTS,
    API_BYTES,
    CONNTRACK_UP,
    NAMES_UP,
    NAMES_AGE,
    NAMES_BYTES,
    NAMES_STARTS,
    NAMES_AGENTS,
    NAMES_OBJECTS,
    NAMES_SERVED,
    NAMES_SENT,
    NAMES_HISTORY,
    NAMES_LEFT_OUT,
)
