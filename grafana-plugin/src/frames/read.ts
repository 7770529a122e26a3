// SPDX-License-Identifier: Apache-2.0
/** Data frames, in any of the shapes of docs/grafana.md, as rows of edges. */
import { FieldType, type DataFrame, type Field } from '@grafana/data';
import type { End, Row, Values } from '../graph/model';
import { COVERAGE, coverageOf, END_LABELS, roleOf, type CoverageName, type Role } from './schema';

export interface Problem {
  /** The query's name, as the query editor shows it. */
  query: string;
  what: string;
  remedy: string;
}

export interface Coverage {
  /** Things that agents lost per second; null if nobody asked. */
  lost: number | null;
  /** Agents that answer, and those that should: their names. Null if nobody asked. */
  agentsUp: number | null;
  agentsMissing: string[];
  /** Nodes of the cluster; null if nobody asked. */
  nodesExpected: number | null;
}

export interface Reading {
  rows: Row[];
  coverage: Coverage;
  problems: Problem[];
  /** Fields of ends that at least one row has. */
  known: Set<keyof End>;
  hasBefore: boolean;
}

type Reader = (at: number) => string;

const NOTHING: Reader = () => '';
const END_FIELDS = Object.keys(END_LABELS) as Array<keyof End>;

export function readFrames(frames: readonly DataFrame[]): Reading {
  const reading = new Rows();
  const titles = titlesOf(frames);
  const traffic = frames.filter((frame) => !coverageOf(frame.refId));
  const named = traffic.some((frame) => rolesOf(frame).length > 0);
  for (const frame of frames) {
    const coverage = coverageOf(frame.refId);
    if (coverage) {
      readCoverage(reading.coverage, coverage, frame);
    } else if (frame.length > 0 && !isNodes(frame)) {
      readTraffic(reading, frame, titles, named);
    }
  }
  return reading.result();
}

class Rows {
  readonly coverage: Coverage = { lost: null, agentsUp: null, agentsMissing: [], nodesExpected: null };
  readonly problems: Problem[] = [];
  private readonly rows = new Map<string, Row>();
  private readonly ends = new Map<string, End>();
  private readonly known = new Set<keyof End>();
  private hasBefore = false;

  end(key: string, make: () => End): End {
    let end = this.ends.get(key);
    if (!end) {
      end = make();
      this.ends.set(key, end);
      for (const field of END_FIELDS) {
        if (end[field]) {
          this.known.add(field);
        }
      }
    }
    return end;
  }

  post(key: string, make: () => Row, role: Role, value: number): void {
    let row = this.rows.get(key);
    if (!row) {
      row = make();
      this.rows.set(key, row);
    }
    this.hasBefore ||= role.before;
    const values: Values = role.before ? row.before : row.now;
    const had = values[role.measure];
    values[role.measure] = had === undefined ? value : role.measure === 'rtt' ? Math.max(had, value) : had + value;
  }

  problem(problem: Problem): void {
    if (!this.problems.some((known) => known.what === problem.what && known.query === problem.query)) {
      this.problems.push(problem);
    }
  }

  result(): Reading {
    return {
      rows: withTcp([...this.rows.values()]),
      coverage: this.coverage,
      problems: this.problems,
      known: this.known,
      hasBefore: this.hasBefore,
    };
  }
}

/** TCP metrics name no protocol: they go to the busiest edge between the same ends, and stay alone where there is none. */
function withTcp(rows: Row[]): Row[] {
  const busiest = new Map<End, Map<End, Row>>();
  for (const row of rows) {
    if (row.protocol) {
      const targets = busiest.get(row.source) ?? new Map<End, Row>();
      busiest.set(row.source, targets);
      if ((targets.get(row.target)?.now.requests ?? -1) < (row.now.requests ?? 0)) {
        targets.set(row.target, row);
      }
    }
  }
  return rows.filter((row) => {
    const owner = row.protocol ? undefined : busiest.get(row.source)?.get(row.target);
    if (!owner || row.now.requests !== undefined || row.before.requests !== undefined) {
      return true;
    }
    owner.now = { ...row.now, ...owner.now };
    owner.before = { ...row.before, ...owner.before };
    return false;
  });
}

function readTraffic(reading: Rows, frame: DataFrame, titles: ReadonlyMap<string, End>, named: boolean): void {
  const query = frame.refId ?? frame.name ?? 'unnamed';
  let values = rolesOf(frame);
  if (values.length === 0) {
    const numbers = numbersOf(frame);
    if (numbers.length === 0) {
      reading.problem({
        query,
        what: 'has no field with numbers',
        remedy: 'let the query return a rate; as a table it is the field "Value"',
      });
      return;
    }
    if (named) {
      reading.problem({
        query,
        what: `is a query the panel does not know`,
        remedy: 'name it requests, errors, duration … (the list is in docs/grafana.md), or remove it',
      });
      return;
    }
    values = [{ field: numbers[0]!, role: { measure: 'requests', before: false } }];
  }
  for (const { field, role } of values) {
    const columns = columnsOf(frame, field, titles);
    if (!columns) {
      reading.problem({
        query,
        what: 'has neither src_namespace and dst_namespace nor src_workload_name and dst_workload_name',
        remedy: 'keep these labels: sum by (src_namespace, src_workload_name, dst_namespace, dst_workload_name, …)',
      });
      return;
    }
    readField(reading, frame, field, role, columns);
  }
}

interface Columns {
  sourceKey: Reader;
  targetKey: Reader;
  source: (at: number) => End;
  target: (at: number) => End;
  protocol: Reader;
  port: Reader;
  /** A time series: the newest value counts, and there is one row. */
  series: boolean;
}

function readField(reading: Rows, frame: DataFrame, field: Field, role: Role, columns: Columns): void {
  const rows = columns.series ? lastOf(field) : allOf(frame);
  for (const at of rows) {
    const value = Number(field.values[at]);
    if (field.values[at] === null || !Number.isFinite(value)) {
      continue;
    }
    const sourceKey = columns.sourceKey(at);
    const targetKey = columns.targetKey(at);
    const protocol = columns.protocol(at);
    const port = columns.port(at);
    const source = reading.end(sourceKey, () => columns.source(at));
    const target = reading.end(targetKey, () => columns.target(at));
    reading.post(
      `${sourceKey}\n${targetKey}\n${protocol}\n${port}`,
      () => ({
        source,
        target,
        protocol,
        port,
        now: {},
        before: {},
        links: () => field.getLinks?.({ valueRowIndex: at }) ?? [],
      }),
      role,
      value
    );
  }
}

function* allOf(frame: DataFrame): Generator<number> {
  for (let at = 0; at < frame.length; at++) {
    yield at;
  }
}

function* lastOf(field: Field): Generator<number> {
  for (let at = field.values.length - 1; at >= 0; at--) {
    if (field.values[at] !== null && Number.isFinite(Number(field.values[at]))) {
      yield at;
      return;
    }
  }
}

function numbersOf(frame: DataFrame): Field[] {
  return frame.fields.filter((field) => field.type === FieldType.number);
}

/** Which number fields of a frame measure what, by their own names or by the query's. */
function rolesOf(frame: DataFrame): Array<{ field: Field; role: Role }> {
  const numbers = numbersOf(frame);
  const byField = numbers.flatMap((field) => {
    const role = roleOf(field.name) ?? roleOf(ALIASES[field.name.toLowerCase()]);
    return role ? [{ field, role }] : [];
  });
  if (byField.length > 0) {
    return byField;
  }
  const role = roleOf(frame.refId);
  return role ? numbers.map((field) => ({ field, role })) : [];
}

/** Numbers of the agent's own API (docs/api.md). */
const ALIASES: Record<string, string> = {
  detail__requests_per_second: 'requests',
  detail__errors_per_second: 'errors',
  detail__duration_nanoseconds_per_second: 'duration',
  requests_per_second: 'requests',
  errors_per_second: 'errors',
  slow_per_second: 'slow',
  request_bytes_per_second: 'request_bytes',
  response_bytes_per_second: 'response_bytes',
  'window.requests_per_second': 'requests',
  'window.errors_per_second': 'errors',
  'window.slow_per_second': 'slow',
  'window.request_bytes_per_second': 'request_bytes',
  'window.response_bytes_per_second': 'response_bytes',
};

function columnsOf(frame: DataFrame, value: Field, titles: ReadonlyMap<string, End>): Columns | null {
  const column = (...names: string[]): Field | undefined =>
    names.map((name) => frame.fields.find((field) => field.name === name)).find(Boolean);
  const label = (name: string): Reader | null => {
    const field = column(name);
    if (field) {
      return (at) => text(field.values[at]);
    }
    const fixed = value.labels?.[name];
    return fixed === undefined ? null : () => fixed;
  };
  const ids = { source: column('source'), target: column('target', 'destination') };
  const series = value.labels !== undefined && Object.keys(value.labels).some((name) => /^(src|dst)_/.test(name));
  const protocol = label('protocol') ?? label('detail__protocol') ?? NOTHING;
  if (ids.source && ids.target) {
    const id =
      (field: Field): Reader =>
      (at) =>
        text(field.values[at]);
    const end = (field: Field) => (at: number) => titles.get(text(field.values[at])) ?? endOfId(text(field.values[at]));
    return {
      sourceKey: id(ids.source),
      targetKey: id(ids.target),
      source: end(ids.source),
      target: end(ids.target),
      protocol,
      port: NOTHING,
      series: false,
    };
  }
  const source = side(label, 'src_');
  const target = side(label, 'dst_');
  const has = (readers: Side): boolean => Boolean(readers.namespace ?? readers.workloadName);
  if (!has(source) && !has(target)) {
    return null;
  }
  return {
    sourceKey: keyOf(source),
    targetKey: keyOf(target),
    source: makeEnd(source),
    target: makeEnd(target),
    protocol,
    port: label('dst_port') ?? NOTHING,
    series,
  };
}

type Side = Partial<Record<keyof End, Reader>>;

function side(label: (name: string) => Reader | null, prefix: string): Side {
  const readers: Side = {};
  for (const field of END_FIELDS) {
    const reader = label(prefix + END_LABELS[field]);
    if (reader) {
      readers[field] = reader;
    }
  }
  return readers;
}

function keyOf(readers: Side): Reader {
  const list = END_FIELDS.map((field) => readers[field] ?? NOTHING);
  return (at) => list.map((reader) => reader(at)).join('\u0001');
}

function makeEnd(readers: Side): (at: number) => End {
  return (at) => {
    const end = emptyEnd();
    for (const field of END_FIELDS) {
      end[field] = readers[field]?.(at) ?? '';
    }
    return end;
  };
}

export function emptyEnd(): End {
  return {
    node: '',
    namespace: '',
    workloadKind: '',
    workloadName: '',
    service: '',
    pod: '',
    ip: '',
    domain: '',
  };
}

function text(value: unknown): string {
  return value === null || value === undefined ? '' : String(value);
}

function isNodes(frame: DataFrame): boolean {
  const names = new Set(frame.fields.map((field) => field.name));
  return names.has('id') && names.has('title') && !names.has('source');
}

/** Names of the nodes of a node graph: the frame with `id` and `title`. */
function titlesOf(frames: readonly DataFrame[]): Map<string, End> {
  const titles = new Map<string, End>();
  for (const frame of frames.filter(isNodes)) {
    const field = (...names: string[]) => frame.fields.find((candidate) => names.includes(candidate.name));
    const ids = field('id')!;
    for (let at = 0; at < frame.length; at++) {
      const read = (...names: string[]): string => text(field(...names)?.values[at]);
      const id = text(ids.values[at]);
      titles.set(
        id,
        endOfNode(id, read('title'), read('kind', 'detail__kind'), read('namespace', 'detail__namespace'))
      );
    }
  }
  return titles;
}

/** The agent's ids are `namespace/kind/name`, `outside/name` and `namespace/name` (docs/api.md). */
function endOfId(id: string): End {
  const [first = '', second = '', ...rest] = id.split('/');
  if (first === 'outside') {
    return endOfNode(id, [second, ...rest].join('/') || 'outside', 'outside', '');
  }
  return rest.length > 0 ? endOfNode(id, rest.join('/'), second, first) : endOfNode(id, second || first, '', '');
}

function endOfNode(id: string, title: string, kind: string, namespace: string): End {
  const end = emptyEnd();
  const where = namespace || 'NOT_FOUND_INTERNAL';
  const word = kind.toLowerCase();
  if (word === 'outside') {
    const address = /^[0-9.]+$|:/.test(title);
    return { ...end, namespace: 'NOT_FOUND_EXTERNAL', ...(address ? { ip: title } : { domain: title }) };
  }
  if (word === 'pod') {
    return { ...end, namespace: where, pod: title };
  }
  if (word === 'service') {
    return { ...end, namespace: where, service: title };
  }
  if (word === 'namespace') {
    return { ...end, namespace: title };
  }
  return { ...end, namespace: where, workloadKind: kind, workloadName: title || id };
}

function readCoverage(coverage: Coverage, name: CoverageName, frame: DataFrame): void {
  const names = frame.fields.find((field) => ['node', 'instance', 'pod'].includes(field.name));
  for (const field of numbersOf(frame)) {
    const isTable = names !== undefined || field.labels === undefined || Object.keys(field.labels).length === 0;
    for (const at of isTable && !hasTime(frame, names) ? allOf(frame) : lastOf(field)) {
      const value = Number(field.values[at]);
      if (!Number.isFinite(value)) {
        continue;
      }
      if (name === 'lost') {
        coverage.lost = (coverage.lost ?? 0) + value;
      } else if (name === 'nodes_expected') {
        coverage.nodesExpected = (coverage.nodesExpected ?? 0) + value;
      } else {
        coverage.agentsUp = (coverage.agentsUp ?? 0) + (value > 0 ? 1 : 0);
        if (value <= 0) {
          coverage.agentsMissing.push(
            text(names?.values[at]) || field.labels?.['node'] || field.labels?.['instance'] || 'unnamed'
          );
        }
      }
    }
  }
}

/** Several points in time of one series, rather than several series at one. */
function hasTime(frame: DataFrame, names: Field | undefined): boolean {
  return names === undefined && frame.length > 1 && frame.fields.some((field) => field.type === FieldType.time);
}

export const COVERAGE_QUERIES: readonly CoverageName[] = COVERAGE;
