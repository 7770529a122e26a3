# SPDX-License-Identifier: Apache-2.0
"""What each of the engine's counters means for what is told: whether something was lost, where, and what helps.

Every field of struct fs_stats is in LOSSES or in NO_LOSS; a test holds that. So a new counter of something dropped
cannot be without a series of `firesteel_lost_total` and a sentence in `firesteel status`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from analyzers.contract import STAT_HELP


@dataclass(frozen=True, slots=True)
class Loss:
    """`kind` and `stage` are the labels of firesteel_lost_total. `remedy` is what helps; without one it is what is to be
    expected, as of conversations that are older than the agent. `after_loss` is what helps where events were lost:
    without that, it is to be expected too. `lowers` is true where requests, connections, bytes or
    their trouble are missing in what is counted, false where they are counted with less detail."""

    kind: str
    stage: str
    remedy: str
    lowers: bool = True
    after_loss: str = ""


LOSSES: Final[Mapping[str, Loss]] = {
    "connections_rejected": Loss("connection", "table", "raise connections.max"),
    "flows_evicted": Loss("conversation", "table", "raise connections.max, or leave out the port (scope.exclude_ports)"),
    "entries_damaged": Loss("entry", "table", "please report it, with what the log says of the engine's crash"),
    "rows_overflow": Loss("request", "table", "leave out ports, processes or paths (scope.exclude_*)", lowers=False),
    "tcp_rows_overflow": Loss("tcp", "table", "leave out ports or processes (scope.exclude_*)", lowers=False),
    "strings_overflow": Loss("content", "table", "requests.url_clustering: blank, or leave out paths", lowers=False),
    "contents_overflow": Loss(
        "content", "table", "raise metrics.contents_per_workload, or cluster paths more (requests.url_clustering)", lowers=False
    ),
    "idents_overflow": Loss("owner", "table", "leave out processes that come and go (scope.exclude_comms)", lowers=False),
    "comms_overflow": Loss("command", "table", "processes of one container name themselves anew all the time", lowers=False),
    "ring_contradictions": Loss("batch", "parse", "please report it: something else wrote into the ring"),
    "recording_failed": Loss("event", "recording", "free space where the recording is written to"),
    "events_invalid": Loss("event", "parse", "the kernel side is of another version: restart the agent, or rebuild the module"),
    "connections_unknown": Loss("event", "parse", "", lowers=False),
    "buffer_exhausted": Loss("byte", "parse", "lower payload.stream_bytes, or leave out ports"),
    "parser_state_exhausted": Loss("state", "parse", "leave out ports of protocols that need not be decoded", lowers=False),
    "orphan_responses": Loss("response", "pair", ""),
    "discarded_exchanges": Loss("exchange", "pair", "", after_loss="raise ring.size; give the agent more CPU"),
    "pending_overflow": Loss("request", "pair", "lower requests.no_response"),
    "pending_exhausted": Loss("request", "pair", "lower requests.no_response, or leave out ports"),
    "flows_unlisted": Loss("conversation", "pair", "leave out the port (scope.exclude_ports)", lowers=False),
    "retransmits_unmatched": Loss("trouble", "resolve", "", lowers=False),
    "nat_lost": Loss("translation", "resolve", "give the agent more CPU", lowers=False),
}  # fmt: skip
"""By field of struct fs_stats."""

NO_LOSS: Final[Mapping[str, str]] = {
    "connections_opened": "counts what there was",
    "connections_closed": "counts what there was",
    "connections_expired": "the kernel tells of it again when it goes on",
    "requests": "counts what there was",
    "exchanges": "counts what there was",
    "no_response": "they are counted, as such",
    "intra_pod": "they are no edge, and have a metric of their own",
    "stream_gaps": "bytes of bodies that nobody has to read",
    "stream_late": "bytes that were counted when their place was stepped over",
    "stream_replaced": "reads and writes that were put in their place",
    "resyncs": "what was lost until then is counted as such",
    "contradictions": "what was discarded for it is counted as such",
    "samples_written": "counts what there was",
    "samples_shed": "samples.rate wants it; they have a metric of their own",
    "rows_expired": "what they counted stays in the accounts",
    "rows_ended_early": "what they counted stays in the accounts",
    "both_ends": "counts what there was",
    "events_excluded": "the user left them out",
    "requests_unwanted": "the user left them out",
    "recording_written": "counts what there was",
    "ring_dropped": "the driver counts the same, by type of event",
    "nat_learned": "counts what there was",
    "nat_applied": "counts what there was",
    "domains_learned": "counts what there was",
}
"""The other fields, with why nothing is lost where they grow."""


def remedy_of(loss: Loss, events_lost: int) -> str:
    """What helps; empty where it is to be expected. `events_lost` is how many events or calls were not seen."""
    return loss.remedy or (loss.after_loss if events_lost else "")


def told(stats: Mapping[str, int]) -> Iterator[tuple[str, int, Loss, str]]:
    """Of each counter of a loss that is not 0: its name, the count, what it means, and the words that go after the count."""
    for name, loss in LOSSES.items():
        if count := stats.get(name, 0):
            yield name, count, loss, STAT_HELP[name]
