// SPDX-License-Identifier: Apache-2.0
/** The shape of data that the panel reads. docs/grafana.md describes it for people. */
import { MEASURES, type End, type Measure, type View } from '../graph/model';

/** A query whose name ends so is of the earlier window. */
export const BEFORE = '_before';

/** Queries that tell how complete the picture is, and not about an edge. */
export const COVERAGE = ['lost', 'agents', 'nodes_expected'] as const;
export type CoverageName = (typeof COVERAGE)[number];

/** Field of an end -> label after `src_` or `dst_`. */
export const END_LABELS: Record<keyof End, string> = {
  node: 'node',
  namespace: 'namespace',
  workloadKind: 'workload_kind',
  workloadName: 'workload_name',
  service: 'service',
  pod: 'pod',
  ip: 'ip',
  domain: 'domain',
};

/** What a view cannot do without, on at least one of the two ends. */
export const VIEW_LABELS: Record<View, keyof End> = {
  namespaces: 'namespace',
  workloads: 'workloadName',
  pods: 'pod',
  nodes: 'node',
  services: 'service',
};

const NAMES = new Set<string>(MEASURES);
const COVERAGE_NAMES = new Set<string>(COVERAGE);

export interface Role {
  measure: Measure;
  before: boolean;
}

/** What a query or a field of this name measures: `requests`, `Value #errors`, `duration_before`. */
export function roleOf(name: string | undefined): Role | null {
  const bare = (name ?? '')
    .replace(/^Value #/, '')
    .trim()
    .toLowerCase();
  const before = bare.endsWith(BEFORE);
  const measure = before ? bare.slice(0, -BEFORE.length) : bare;
  return NAMES.has(measure) ? { measure: measure as Measure, before } : null;
}

export function coverageOf(name: string | undefined): CoverageName | null {
  const bare = (name ?? '').toLowerCase();
  return COVERAGE_NAMES.has(bare) ? (bare as CoverageName) : null;
}
