// SPDX-License-Identifier: Apache-2.0
/** Which of the panel's states the data calls for. */
import { LoadingState, type PanelData } from '@grafana/data';
import type { View } from '../graph/model';
import type { Problem, Reading } from './read';
import { END_LABELS, VIEW_LABELS } from './schema';

export type PanelState =
  | { kind: 'loading' }
  | { kind: 'error'; messages: string[] }
  | { kind: 'shape'; problems: Problem[] }
  | { kind: 'empty' }
  | { kind: 'ready'; warnings: string[] };

export function stateOf(
  data: Pick<PanelData, 'state' | 'series' | 'error' | 'errors'>,
  reading: Reading,
  view: View
): PanelState {
  const failures = (data.errors ?? (data.error ? [data.error] : [])).map(
    (error) => `${error.refId ? `${error.refId}: ` : ''}${error.message ?? error.data?.message ?? 'the query failed'}`
  );
  if (reading.rows.length === 0) {
    if (failures.length > 0 || data.state === LoadingState.Error) {
      return { kind: 'error', messages: failures.length > 0 ? failures : ['the data source gave no reason'] };
    }
    if (data.state === LoadingState.Loading || data.state === LoadingState.NotStarted) {
      return { kind: 'loading' };
    }
    return reading.problems.length > 0 ? { kind: 'shape', problems: reading.problems } : { kind: 'empty' };
  }
  const missing = missingFor(reading, view);
  if (missing) {
    return { kind: 'shape', problems: [missing] };
  }
  return {
    kind: 'ready',
    warnings: [...failures, ...reading.problems.map(({ query, what, remedy }) => `${query} ${what}: ${remedy}`)],
  };
}

/** Prometheus leaves out labels that are empty everywhere, so a missing one may be the query's fault or the agents'. */
function missingFor(reading: Reading, view: View): Problem | null {
  const field = VIEW_LABELS[view];
  if (
    reading.known.has(field) ||
    (view === 'workloads' && (reading.known.has('service') || reading.known.has('pod')))
  ) {
    return null;
  }
  const label = END_LABELS[field];
  return {
    query: 'requests',
    what: `has no field src_${label} or dst_${label}, which the view "${view}" needs`,
    remedy:
      view === 'pods' || view === 'nodes'
        ? `add them to sum by (…), or choose another view: at workload detail (metrics.detail) agents leave them empty`
        : `add them to sum by (…), or choose another view`,
  };
}
