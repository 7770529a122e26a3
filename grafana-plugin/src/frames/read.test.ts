// SPDX-License-Identifier: Apache-2.0
import { FieldType, LoadingState, toDataFrame } from '@grafana/data';
import { series, table } from '../testing/frames';
import { readFrames } from './read';
import { stateOf } from './state';

const EDGE = {
  src_namespace: 'shop',
  src_workload_kind: 'Deployment',
  src_workload_name: 'web',
  dst_namespace: 'shop',
  dst_workload_kind: 'StatefulSet',
  dst_workload_name: 'db',
  protocol: 'mysql',
};

describe('tables of the Prometheus data source', () => {
  it('joins queries on their labels and keeps each measure apart', () => {
    const { rows, problems } = readFrames([
      table('requests', [
        { ...EDGE, Value: 12 },
        { ...EDGE, protocol: 'http', Value: 3 },
      ]),
      table('errors', [{ ...EDGE, Value: 2 }]),
      table('duration', [{ ...EDGE, Value: 24e6 }]),
      table('requests_before', [{ ...EDGE, Value: 6 }]),
    ]);
    expect(problems).toEqual([]);
    expect(rows).toHaveLength(2);
    expect(rows[0]).toMatchObject({
      protocol: 'mysql',
      now: { requests: 12, errors: 2, duration: 24e6 },
      before: { requests: 6 },
      source: { workloadName: 'web', namespace: 'shop' },
      target: { workloadName: 'db', workloadKind: 'StatefulSet' },
    });
    expect(rows[1]!.now).toEqual({ requests: 3 });
  });

  it('adds rows that are the same edge, but takes the largest round-trip time', () => {
    const { rows } = readFrames([
      table('requests', [
        { ...EDGE, Value: 1 },
        { ...EDGE, Value: 2 },
      ]),
      table('rtt', [
        { ...EDGE, Value: 400 },
        { ...EDGE, Value: 90 },
      ]),
    ]);
    expect(rows).toHaveLength(1);
    expect(rows[0]!.now).toEqual({ requests: 3, rtt: 400 });
  });

  it('reads a single query of any name as requests, and names one it does not know beside others', () => {
    expect(readFrames([table('A', [{ ...EDGE, Value: 5 }])]).rows[0]!.now).toEqual({ requests: 5 });
    const { rows, problems } = readFrames([
      table('requests', [{ ...EDGE, Value: 5 }]),
      table('B', [{ ...EDGE, Value: 7 }]),
    ]);
    expect(rows[0]!.now).toEqual({ requests: 5 });
    expect(problems).toMatchObject([{ query: 'B', what: 'is a query the panel does not know' }]);
  });

  it('gives TCP metrics, which name no protocol, to the busiest edge of the same ends', () => {
    const { protocol: _, ...ends } = EDGE;
    const { rows } = readFrames([
      table('requests', [
        { ...EDGE, Value: 5 },
        { ...EDGE, protocol: 'http', Value: 7 },
      ]),
      table('connect_failures', [
        { ...ends, Value: 2 },
        { ...ends, dst_workload_name: 'gone', Value: 3 },
      ]),
    ]);
    expect(rows.map(({ target, protocol, now }) => [target.workloadName, protocol, now])).toEqual([
      ['db', 'mysql', { requests: 5 }],
      ['db', 'http', { requests: 7, connect_failures: 2 }],
      ['gone', '', { connect_failures: 3 }],
    ]);
  });

  it('leaves out what is no number', () => {
    const { rows } = readFrames([
      table('requests', [
        { ...EDGE, Value: NaN },
        { ...EDGE, protocol: 'dns', Value: 1 },
      ]),
    ]);
    expect(rows.map(({ protocol }) => protocol)).toEqual(['dns']);
  });
});

describe('other shapes', () => {
  it('takes the newest value of each time series', () => {
    const { rows } = readFrames([
      series('requests', EDGE, [1, 2, 9, null]),
      series('requests', { ...EDGE, protocol: 'http' }, [4]),
    ]);
    expect(rows.map(({ now }) => now.requests)).toEqual([9, 4]);
  });

  it('reads several measures from the fields of one joined table', () => {
    const frame = table('A', [{ ...EDGE, Value: 0 }]);
    frame.fields.pop();
    frame.fields.push(
      { name: 'Value #requests', type: FieldType.number, config: {}, values: [8] },
      { name: 'errors', type: FieldType.number, config: {}, values: [1] }
    );
    expect(readFrames([frame]).rows[0]!.now).toEqual({ requests: 8, errors: 1 });
  });

  it('reads the frames of the agent’s node graph routes', () => {
    const nodes = toDataFrame({
      refId: 'A',
      fields: [
        { name: 'id', type: FieldType.string, values: ['shop/deployment/web', 'outside/api.example.com'] },
        { name: 'title', type: FieldType.string, values: ['web', 'api.example.com'] },
        { name: 'detail__kind', type: FieldType.string, values: ['deployment', 'outside'] },
        { name: 'detail__namespace', type: FieldType.string, values: ['shop', 'NOT_FOUND_EXTERNAL'] },
      ],
    });
    const edges = toDataFrame({
      refId: 'A',
      fields: [
        { name: 'id', type: FieldType.string, values: ['e'] },
        { name: 'source', type: FieldType.string, values: ['shop/deployment/web'] },
        { name: 'target', type: FieldType.string, values: ['outside/api.example.com'] },
        { name: 'detail__protocol', type: FieldType.string, values: ['tls'] },
        { name: 'detail__requests_per_second', type: FieldType.number, values: [2.5] },
        { name: 'detail__errors_per_second', type: FieldType.number, values: [0.5] },
      ],
    });
    const { rows, problems } = readFrames([nodes, edges]);
    expect(problems).toEqual([]);
    expect(rows).toMatchObject([
      {
        protocol: 'tls',
        now: { requests: 2.5, errors: 0.5 },
        source: { namespace: 'shop', workloadName: 'web', workloadKind: 'deployment' },
        target: { namespace: 'NOT_FOUND_EXTERNAL', domain: 'api.example.com' },
      },
    ]);
  });

  it('counts agents and losses apart from edges', () => {
    const { coverage, rows } = readFrames([
      table('requests', [{ ...EDGE, Value: 1 }]),
      table('agents', [
        { instance: 'a:9500', Value: 1 },
        { instance: 'b:9500', Value: 0 },
      ]),
      table('lost', [{ Value: 2 }]),
      table('nodes_expected', [{ Value: 3 }]),
    ]);
    expect(rows).toHaveLength(1);
    expect(coverage).toEqual({ lost: 2, agentsUp: 1, agentsMissing: ['b:9500'], nodesExpected: 3 });
  });
});

describe('states', () => {
  const done = { state: LoadingState.Done, series: [] };
  it('tells loading, error, empty and partial apart', () => {
    const nothing = readFrames([]);
    expect(stateOf({ ...done, state: LoadingState.Loading }, nothing, 'workloads').kind).toBe('loading');
    expect(stateOf(done, nothing, 'workloads').kind).toBe('empty');
    expect(stateOf({ ...done, errors: [{ refId: 'requests', message: 'timeout' }] }, nothing, 'workloads')).toEqual({
      kind: 'error',
      messages: ['requests: timeout'],
    });
    const some = readFrames([table('requests', [{ ...EDGE, Value: 1 }])]);
    expect(stateOf({ ...done, errors: [{ refId: 'errors', message: 'timeout' }] }, some, 'workloads')).toEqual({
      kind: 'ready',
      warnings: ['errors: timeout'],
    });
  });

  it('names the field that is missing', () => {
    const shapeless = readFrames([table('requests', [{ job: 'x', Value: 1 }])]);
    expect(stateOf(done, shapeless, 'workloads')).toMatchObject({
      kind: 'shape',
      problems: [{ query: 'requests', what: expect.stringContaining('src_namespace') }],
    });
    const workloads = readFrames([table('requests', [{ ...EDGE, Value: 1 }])]);
    expect(stateOf(done, workloads, 'pods')).toMatchObject({
      kind: 'shape',
      problems: [{ what: expect.stringContaining('src_pod or dst_pod') }],
    });
    const textOnly = readFrames([
      toDataFrame({
        refId: 'requests',
        fields: [{ name: 'src_namespace', type: FieldType.string, values: ['a'] }],
      }),
    ]);
    expect(stateOf(done, textOnly, 'workloads')).toMatchObject({
      kind: 'shape',
      problems: [{ what: 'has no field with numbers' }],
    });
  });
});
