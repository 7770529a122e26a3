// SPDX-License-Identifier: Apache-2.0
import { end, row, workload } from '../testing/frames';
import { aggregate, changeOf, type Folding } from './aggregate';
import { emptyTotals, type Row } from './model';
import { chainOf, isUnresolved, NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL } from './places';
import { neighbourhood, search, select, type Selection } from './select';

const FOLDING: Folding = {
  view: 'workloads',
  expanded: new Set(),
  collapsed: new Set(),
  edges: 'protocol',
  maxNodes: 1000,
  thresholds: { errorsWarning: 0.01, errorsBad: 0.05, latencyWarning: 500, latencyBad: 2000 },
  changeFactor: 2,
  compare: false,
};
const ALL: Selection = {
  protocols: [],
  namespaces: [],
  hideBelow: 0,
  changedOnly: false,
  focus: null,
  hops: 1,
  direction: 'both',
};
const DOMAIN = end({ namespace: NOT_FOUND_EXTERNAL, domain: 'api.example.com', ip: '192.0.2.1' });

/** Three pods of web ask two of db; web and mail ask outside. */
const ROWS: Row[] = [
  row(
    workload('web', 'shop', 'web-1'),
    workload('db', 'data', 'db-0'),
    { requests: 4, errors: 1, duration: 4e9 },
    'mysql'
  ),
  row(workload('web', 'shop', 'web-2'), workload('db', 'data', 'db-0'), { requests: 6, duration: 6e9 }, 'mysql'),
  row(workload('web', 'shop', 'web-3'), workload('db', 'data', 'db-1'), { requests: 10, duration: 10e9 }, 'mysql'),
  row(workload('web', 'shop', 'web-1'), DOMAIN, { requests: 2 }, 'tls'),
  row(workload('mail', 'shop', 'mail-1'), DOMAIN, { requests: 3 }, 'tls'),
];

const ids = (nodes: Iterable<{ id: string }>): string[] => [...nodes].map(({ id }) => id).sort();

describe('folding', () => {
  it('adds pods up to workloads and keeps every request', () => {
    const graph = aggregate(ROWS, FOLDING);
    expect(ids(graph.nodes.values())).toEqual([
      'data/Deployment/db',
      'outside/api.example.com',
      'shop/Deployment/mail',
      'shop/Deployment/web',
    ]);
    expect(graph.edges.map(({ source, target, now }) => [source, target, now.requests, now.errors])).toEqual([
      ['shop/Deployment/web', 'data/Deployment/db', 20, 1],
      ['shop/Deployment/mail', 'outside/api.example.com', 3, 0],
      ['shop/Deployment/web', 'outside/api.example.com', 2, 0],
    ]);
    expect(graph.nodes.get('shop/Deployment/web')).toMatchObject({ members: 3, expandable: true });
    expect(graph.edges[0]!.now.duration / graph.edges[0]!.now.requests).toBe(1e9);
  });

  it.each([
    ['namespaces', ['namespace/data', 'namespace/shop', 'outside']],
    [
      'pods',
      [
        'data/pod/db-0',
        'data/pod/db-1',
        'outside/api.example.com',
        'shop/pod/mail-1',
        'shop/pod/web-1',
        'shop/pod/web-2',
        'shop/pod/web-3',
      ],
    ],
    ['nodes', ['node/node-1', 'outside/api.example.com']],
  ] as const)('shows %s', (view, expected) => {
    const graph = aggregate(ROWS, { ...FOLDING, view });
    expect(ids(graph.nodes.values())).toEqual(expected);
    const requests = graph.edges.reduce((sum, edge) => sum + edge.now.requests, 0);
    expect(requests).toBe(25);
  });

  it('shows services, and the workload where there is none', () => {
    const rows = [row(workload('web'), end({ namespace: 'data', service: 'mysql', workloadName: 'db' }))];
    expect(ids(aggregate(rows, { ...FOLDING, view: 'services' }).nodes.values())).toEqual([
      'data/service/mysql',
      'shop/Deployment/web',
    ]);
  });

  it('expands one workload into its pods, and collapses one namespace', () => {
    const expanded = aggregate(ROWS, { ...FOLDING, expanded: new Set(['shop/Deployment/web']) });
    expect(ids(expanded.nodes.values())).toContain('shop/pod/web-3');
    expect(ids(expanded.nodes.values())).toContain('shop/Deployment/mail');
    expect(ids(expanded.nodes.values())).not.toContain('shop/Deployment/web');
    const collapsed = aggregate(ROWS, { ...FOLDING, collapsed: new Set(['namespace/shop']) });
    expect(ids(collapsed.nodes.values())).toEqual(['data/Deployment/db', 'namespace/shop', 'outside/api.example.com']);
    expect(collapsed.nodes.get('namespace/shop')!.asked.requests).toBe(25);
  });

  it('leaves out what is idle, unless it is compared with a time when it was not', () => {
    const idle = [...ROWS, row(workload('old'), DOMAIN, { requests: 0 }, 'tls', { requests: 5 })];
    expect(aggregate(idle, FOLDING).nodes.has('shop/Deployment/old')).toBe(false);
    expect(aggregate(idle, { ...FOLDING, compare: true }).nodes.has('shop/Deployment/old')).toBe(true);
  });

  it('draws both directions and one edge for each protocol, or one for all', () => {
    const rows = [
      row(workload('a'), workload('b'), { requests: 1 }, 'http'),
      row(workload('a'), workload('b'), { requests: 2 }, 'grpc'),
      row(workload('b'), workload('a'), { requests: 4 }, 'http'),
    ];
    expect(aggregate(rows, FOLDING).edges.map(({ now }) => now.requests)).toEqual([4, 2, 1]);
    const pairs = aggregate(rows, { ...FOLDING, edges: 'pair' }).edges;
    expect(pairs.map(({ protocol, now }) => [protocol, now.requests])).toEqual([
      ['http', 4],
      ['grpc, http', 3],
    ]);
  });

  it('folds the largest groups when there are too many nodes', () => {
    const rows = Array.from({ length: 3000 }, (_, at) =>
      row(workload('crowd', 'one', `crowd-${at}`), workload('db', 'data', 'db-0'))
    );
    const graph = aggregate(rows, { ...FOLDING, view: 'pods', maxNodes: 100 });
    expect(ids(graph.nodes.values())).toEqual(['data/pod/db-0', 'one/Deployment/crowd']);
    expect(graph.folded).toEqual(['crowd']);
    expect(graph.edges[0]!.now.requests).toBe(3000);
  });
});

describe('names', () => {
  it('knows what has none', () => {
    expect(isUnresolved(end({ namespace: NOT_FOUND_EXTERNAL, ip: '203.0.113.9' }))).toBe(false);
    expect(isUnresolved(end({ namespace: NOT_FOUND_EXTERNAL, ip: '10.3.4.5' }))).toBe(true);
    expect(isUnresolved(end({ namespace: NOT_FOUND_EXTERNAL, ip: '100.64.1.1' }))).toBe(true);
    expect(isUnresolved(end({ namespace: NOT_FOUND_EXTERNAL, ip: 'fd00::1' }))).toBe(true);
    expect(isUnresolved(end({ namespace: NOT_FOUND_EXTERNAL, ip: 'other' }))).toBe(true);
    expect(isUnresolved(end({ namespace: NOT_FOUND_INTERNAL, ip: '10.0.0.9' }))).toBe(false);
    expect(isUnresolved(DOMAIN)).toBe(false);
    expect(isUnresolved(end({}))).toBe(true);
  });

  it('gives each kind of end its own look', () => {
    const kind = (fields: Parameters<typeof end>[0]) => {
      const chain = chainOf(end(fields), 'workloads');
      return chain.places[chain.start]!.kind;
    };
    expect(kind({ namespace: 'a', workloadName: 'x', workloadKind: 'StatefulSet' })).toBe('statefulset');
    expect(kind({ namespace: 'a', workloadName: 'x', workloadKind: 'CronJob' })).toBe('job');
    expect(kind({ namespace: 'a', workloadName: 'x', workloadKind: 'Strimzi' })).toBe('workload');
    expect(kind({ namespace: 'a', service: 'x' })).toBe('service');
    expect(kind({ namespace: NOT_FOUND_INTERNAL, node: 'n1', ip: '10.0.0.1' })).toBe('node');
    expect(kind({ namespace: NOT_FOUND_EXTERNAL, ip: '203.0.113.9' })).toBe('external');
    expect(kind({ namespace: NOT_FOUND_EXTERNAL, ip: '10.9.9.9' })).toBe('unresolved');
    expect(kind({ namespace: NOT_FOUND_INTERNAL, workloadName: 'nginx', workloadKind: 'systemd' })).toBe('process');
  });

  it('tells the share of traffic without a name', () => {
    const nameless = row(workload('web'), end({ namespace: NOT_FOUND_EXTERNAL, ip: '10.1.1.1' }), { requests: 25 });
    expect(aggregate([...ROWS, nameless], FOLDING).unresolvedShare).toBe(0.5);
    expect(aggregate([], FOLDING).unresolvedShare).toBeNull();
  });
});

describe('health and comparison', () => {
  it('is the worse of errors and latency', () => {
    const health = (now: Row['now']) => aggregate([row(workload('a'), workload('b'), now)], FOLDING).edges[0]!.health;
    expect(health({ requests: 100, errors: 0, duration: 1e9 })).toBe('good');
    expect(health({ requests: 100, errors: 1 })).toBe('warning');
    expect(health({ requests: 100, errors: 5 })).toBe('bad');
    expect(health({ requests: 100, duration: 100 * 0.6e9 })).toBe('warning');
    expect(health({ requests: 100, duration: 100 * 2e9 })).toBe('bad');
    expect(health({ connect_failures: 1 })).toBe('bad');
    expect(health({ connect_failures: 0, retransmits: 1 })).toBe('unknown');
  });

  it('marks what is new, lost and changed', () => {
    const totals = (requests: number, errors = 0) => ({ ...emptyTotals(), requests, errors });
    expect(changeOf(totals(0), totals(1), 2)).toBe('new');
    expect(changeOf(totals(1), totals(0), 2)).toBe('lost');
    expect(changeOf(totals(10), totals(20), 2)).toBe('changed');
    expect(changeOf(totals(10), totals(19), 2)).toBe('same');
    expect(changeOf(totals(100, 1), totals(100, 10), 2)).toBe('changed');
    expect(changeOf(totals(0), totals(0), 2)).toBe('same');
    const rows = [
      row(workload('a'), workload('b'), { requests: 1 }, 'http', { requests: 1 }),
      row(workload('a'), workload('c'), { requests: 1 }, 'http'),
      row(workload('a'), workload('d'), {}, 'http', { requests: 1 }),
    ];
    const graph = aggregate(rows, { ...FOLDING, compare: true });
    expect(graph.nodes.get('shop/Deployment/c')!.change).toBe('new');
    expect(graph.nodes.get('shop/Deployment/d')!.change).toBe('lost');
    expect(graph.nodes.get('shop/Deployment/a')!.change).toBe('same');
    expect(select(graph, { ...ALL, changedOnly: true }).edges).toHaveLength(2);
  });
});

describe('selection', () => {
  const chain = ['a', 'b', 'c', 'd'];
  const graph = aggregate(
    chain
      .slice(1)
      .map((name, at) => row(workload(chain[at]!), workload(name), { requests: at + 1 }, at ? 'http' : 'dns')),
    FOLDING
  );
  const id = (name: string) => `shop/Deployment/${name}`;

  it('walks as many hops as asked, up and down', () => {
    const near = (hops: number, direction: Selection['direction']) =>
      [...neighbourhood(graph.edges, id('b'), hops, direction).nodes].sort();
    expect(near(1, 'both')).toEqual(['a', 'b', 'c'].map(id));
    expect(near(1, 'upstream')).toEqual(['a', 'b'].map(id));
    expect(near(2, 'downstream')).toEqual(['b', 'c', 'd'].map(id));
  });

  it('filters by protocol, namespace and rate, and keeps what fails', () => {
    expect(select(graph, { ...ALL, protocols: ['dns'] }).edges).toHaveLength(1);
    expect(select(graph, { ...ALL, namespaces: ['elsewhere'] }).nodes.size).toBe(0);
    expect(select(graph, { ...ALL, hideBelow: 2 }).edges).toHaveLength(2);
    const failing = aggregate([row(workload('a'), workload('b'), { requests: 1, errors: 1 })], FOLDING);
    expect(select(failing, { ...ALL, hideBelow: 2 }).edges).toHaveLength(1);
  });

  it('finds by name and address, best match first', () => {
    const rows = [
      row(workload('web-front'), workload('web')),
      row(workload('web'), end({ namespace: NOT_FOUND_EXTERNAL, ip: '203.0.113.9', domain: 'x.example' })),
    ];
    const whole = aggregate(rows, FOLDING);
    expect(search(whole, 'web').map(({ title }) => title)).toEqual(['web', 'web-front']);
    expect(search(whole, '203.0').map(({ title }) => title)).toEqual(['x.example']);
    expect(search(whole, ' ')).toEqual([]);
  });
});
