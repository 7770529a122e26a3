// SPDX-License-Identifier: Apache-2.0
/** What the panel knows: rows as they come out of frames, and the graph they are folded into. */
import type { LinkModel } from '@grafana/data';

/** One end of an edge, as its labels name it; text that is not known is empty. */
export interface End {
  node: string;
  namespace: string;
  workloadKind: string;
  workloadName: string;
  service: string;
  pod: string;
  ip: string;
  domain: string;
}

export const MEASURES = [
  'requests',
  'errors',
  'slow',
  'duration',
  'request_bytes',
  'response_bytes',
  'connect_failures',
  'retransmits',
  'rtt',
] as const;

/** Rates per second, but `duration`, which is nanoseconds spent per second, and `rtt`, which is microseconds. */
export type Measure = (typeof MEASURES)[number];
export type Values = Partial<Record<Measure, number>>;

/** All that was read of one pair of ends in one protocol. */
export interface Row {
  source: End;
  target: End;
  protocol: string;
  port: string;
  now: Values;
  before: Values;
  /** Data links of the row, made when somebody asks. */
  links?: () => LinkModel[];
}

export const VIEWS = ['namespaces', 'workloads', 'pods', 'nodes', 'services'] as const;
export type View = (typeof VIEWS)[number];

/** How a node is drawn. The last four are not workloads of the cluster and look like none. */
export type Kind =
  | 'namespace'
  | 'deployment'
  | 'statefulset'
  | 'daemonset'
  | 'job'
  | 'process'
  | 'workload'
  | 'pod'
  | 'node'
  | 'service'
  | 'external'
  | 'unresolved';

export type Level = 'namespace' | 'service' | 'workload' | 'pod' | 'node' | 'outside';

/** A node at one level of folding. `id` is stable while its names are. */
export interface Place {
  id: string;
  kind: Kind;
  level: Level;
  title: string;
  subtitle: string;
  namespace: string;
}

export interface Totals {
  requests: number;
  errors: number;
  slow: number;
  duration: number;
  request_bytes: number;
  response_bytes: number;
  connect_failures: number;
  retransmits: number;
  /** The largest reading, as a sum of round-trip times means nothing; null without one. */
  rtt: number | null;
}

export type Change = 'same' | 'new' | 'lost' | 'changed';
export type Health = 'unknown' | 'good' | 'warning' | 'bad';

export interface GraphNode extends Place {
  /** What it is folded into at the next coarser level, if there is one: collapsing goes there. */
  parent: Place | null;
  /** Whether a finer level is known, so that it can be expanded. */
  expandable: boolean;
  /** How many different finer places were folded into it. */
  members: number;
  addresses: string[];
  machines: string[];
  asked: Totals;
  answered: Totals;
  change: Change;
  health: Health;
}

export interface GraphEdge {
  id: string;
  source: string;
  target: string;
  protocol: string;
  ports: string[];
  now: Totals;
  before: Totals | null;
  change: Change;
  health: Health;
  rows: Row[];
}

export interface Graph {
  nodes: Map<string, GraphNode>;
  edges: GraphEdge[];
  /** Share of all requests with at least one end that has no name, 0 to 1; null without requests. */
  unresolvedShare: number | null;
  /** Places that were folded because there were too many: their titles, most members first. */
  folded: string[];
}

export interface Thresholds {
  /** Shares of failed requests, 0 to 1. */
  errorsWarning: number;
  errorsBad: number;
  /** Mean duration of a request in milliseconds. */
  latencyWarning: number;
  latencyBad: number;
}

export function emptyTotals(): Totals {
  return {
    requests: 0,
    errors: 0,
    slow: 0,
    duration: 0,
    request_bytes: 0,
    response_bytes: 0,
    connect_failures: 0,
    retransmits: 0,
    rtt: null,
  };
}

export function addValues(totals: Totals, values: Values): void {
  totals.requests += values.requests ?? 0;
  totals.errors += values.errors ?? 0;
  totals.slow += values.slow ?? 0;
  totals.duration += values.duration ?? 0;
  totals.request_bytes += values.request_bytes ?? 0;
  totals.response_bytes += values.response_bytes ?? 0;
  totals.connect_failures += values.connect_failures ?? 0;
  totals.retransmits += values.retransmits ?? 0;
  if (values.rtt !== undefined) {
    totals.rtt = Math.max(totals.rtt ?? 0, values.rtt);
  }
}

export function addTotals(into: Totals, from: Totals): void {
  addValues(into, { ...from, rtt: from.rtt ?? undefined });
}

/** Mean duration of a request in seconds; null without a request or without durations. */
export function meanSeconds(totals: Totals): number | null {
  return totals.requests > 0 && totals.duration > 0 ? totals.duration / totals.requests / 1e9 : null;
}

/** Share of failed requests, 0 to 1; null without requests. */
export function errorShare(totals: Totals): number | null {
  return totals.requests > 0 ? Math.min(1, totals.errors / totals.requests) : null;
}
