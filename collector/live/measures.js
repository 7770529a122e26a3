// SPDX-License-Identifier: Apache-2.0
// What is shown of an edge over the chosen span: the last seconds, or everything since the start.

function sum(values) {
  return Object.values(values).reduce((total, value) => total + value, 0);
}

/**
 * The span that can be shown: where nothing recent is known to compare with (at the first answer, or in a replay, whose
 * time stands still) everything since the start, for "idle" would be said of what nobody can tell.
 */
export function spanOf(topology, chosen) {
  return topology.window_seconds === null ? "total" : chosen;
}

/** Rates (per second, null if unknown), share of failures, latency. `span` is "window" or "total". */
export function measure(edge, topology, span) {
  const failures = sum(edge.tcp.connect_failures);
  const totals = edge.total;
  if (span === "window" && edge.window) {
    const recent = edge.window;
    const seconds = topology.window_seconds;
    const tried = recent.requests + recent.connect_failures;
    const failed = recent.errors_per_second * seconds + recent.connect_failures;
    return {
      perSecond: recent.requests_per_second,
      failedPerSecond: failed / seconds,
      failedShare: tried ? failed / tried : 0,
      failuresOnly: recent.requests === 0 && recent.connect_failures > 0,
      durations: recent.requests ? recent.duration_seconds : totals.duration_seconds,
      moving: tried > 0,
      requestBytes: recent.request_bytes_per_second,
      responseBytes: recent.response_bytes_per_second,
      retransmits: recent.retransmits,
    };
  }
  const seconds = span === "total" ? topology.counted_seconds : null;
  const per = (value) => (seconds ? value / seconds : null);
  const tried = totals.requests + failures;
  return {
    perSecond: per(totals.requests),
    failedPerSecond: per(totals.errors + failures),
    failedShare: tried ? (totals.errors + failures) / tried : 0,
    failuresOnly: totals.requests === 0 && failures > 0,
    durations: totals.duration_seconds,
    moving: span === "total" && tried > 0,
    requestBytes: per(totals.request_bytes),
    responseBytes: per(totals.response_bytes),
    retransmits: edge.tcp.retransmits + edge.tcp.synack_retransmits,
  };
}

/** Sums over edges, for the bar at the top. */
export function overall(topology, span) {
  const total = { perSecond: 0, failedPerSecond: 0, requests: 0, failures: 0, known: false };
  for (const edge of topology.edges) {
    const shown = measure(edge, topology, span);
    total.requests += edge.total.requests;
    total.failures += edge.total.errors + sum(edge.tcp.connect_failures);
    if (shown.perSecond === null) continue;
    total.known = true;
    total.perSecond += shown.perSecond;
    total.failedPerSecond += shown.failedPerSecond;
  }
  return total;
}

const KEPT = 60;

/** Remembers the rates of each edge over the last polls, for the little curves. Forgets edges that are gone. */
export class History {
  constructor() {
    this.byEdge = new Map();
  }

  add(topology) {
    const seen = new Map();
    for (const edge of topology.edges) {
      const shown = measure(edge, topology, "window");
      const points = this.byEdge.get(edge.id) ?? [];
      points.push([shown.perSecond ?? 0, shown.perSecond === null ? 0 : shown.failedPerSecond]);
      if (points.length > KEPT) points.shift();
      seen.set(edge.id, points);
    }
    this.byEdge = seen;
  }

  /** The sum over the given edges, oldest first: [rate, failed rate] per poll. */
  of(edgeIds) {
    const all = edgeIds.map((id) => this.byEdge.get(id) ?? []);
    const length = Math.max(0, ...all.map((points) => points.length));
    return Array.from({ length }, (_, index) => {
      const sums = [0, 0];
      for (const points of all) {
        const point = points[points.length - length + index];
        if (point) point.forEach((value, i) => (sums[i] += value));
      }
      return sums;
    });
  }
}
