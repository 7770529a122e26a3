// SPDX-License-Identifier: Apache-2.0
/** Frames as Grafana's Prometheus data source makes them from an instant query in table format. */
import { FieldType, toDataFrame, type DataFrame } from '@grafana/data';
import type { End, Row, Values } from '../graph/model';
import { emptyEnd } from '../frames/read';

export type Line = Record<string, string | number>;

export function table(refId: string, lines: Line[]): DataFrame {
  const names = [...new Set(lines.flatMap((line) => Object.keys(line)))].filter((name) => name !== 'Value');
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: lines.map(() => 1700000000000) },
      ...names.map((name) => ({ name, type: FieldType.string, values: lines.map((line) => line[name] ?? '') })),
      { name: 'Value', type: FieldType.number, values: lines.map((line) => line['Value']) },
    ],
  });
}

/** A frame for each series, as in time series format. */
export function series(refId: string, labels: Record<string, string>, values: Array<number | null>): DataFrame {
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: values.map((_, at) => 1700000000000 + at * 1000) },
      { name: 'Value', type: FieldType.number, labels, values },
    ],
  });
}

export function end(fields: Partial<End>): End {
  return { ...emptyEnd(), ...fields };
}

export function workload(name: string, namespace = 'shop', pod = ''): End {
  return end({ namespace, workloadKind: 'Deployment', workloadName: name, pod, node: pod ? 'node-1' : '' });
}

export function row(
  source: End,
  target: End,
  now: Values = { requests: 1 },
  protocol = 'http',
  before: Values = {}
): Row {
  return { source, target, protocol, port: '', now, before };
}
