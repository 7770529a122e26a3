// SPDX-License-Identifier: Apache-2.0
/** Rows folded into the nodes and edges of one view. */
import {
  addTotals,
  addValues,
  emptyTotals,
  MEASURES,
  type Change,
  type End,
  type Graph,
  type GraphEdge,
  type GraphNode,
  type Place,
  type Row,
  type Thresholds,
  type Totals,
  type Values,
  type View,
} from './model';
import { healthOf } from './health';
import { chainOf, isUnresolved, type Chain } from './places';

const ADDRESSES_KEPT = 16;

export interface Folding {
  view: View;
  /** Ids of places that are shown by their finer places. */
  expanded: ReadonlySet<string>;
  /** Ids of places that hide their finer places. */
  collapsed: ReadonlySet<string>;
  /** One edge for each protocol of a pair of nodes, or one for all. */
  edges: 'protocol' | 'pair';
  /** More nodes than this, and the places with most members are folded. */
  maxNodes: number;
  thresholds: Thresholds;
  /** How many times more or less makes an edge a changed one. */
  changeFactor: number;
  compare: boolean;
}

/** Which place of the chain is shown. */
export function shownIndex(chain: Chain, expanded: ReadonlySet<string>, collapsed: ReadonlySet<string>): number {
  const hidden = chain.places.findIndex((place) => collapsed.has(place.id));
  let index = chain.start;
  while (index + 1 < chain.places.length && expanded.has(chain.places[index]!.id)) {
    index++;
  }
  return hidden >= 0 ? Math.min(hidden, index) : index;
}

export function aggregate(all: readonly Row[], folding: Folding): Graph {
  const rows = all.filter((row) => isActive(row.now) || (folding.compare && isActive(row.before)));
  // Rows share their ends, so each end is named once.
  const named = new Map<End, Chain>();
  const chain = (end: End): Chain => {
    let found = named.get(end);
    if (!found) {
      found = chainOf(end, folding.view);
      named.set(end, found);
    }
    return found;
  };
  const chains = rows.map((row): [Chain, Chain] => [chain(row.source), chain(row.target)]);
  const { collapsed, folded } = withinLimit(chains, folding);
  const graph: Graph = { nodes: new Map(), edges: [], unresolvedShare: unresolvedShare(rows), folded };
  const edges = new Map<string, GraphEdge>();
  const members = new Map<string, Set<string>>();
  rows.forEach((row, at) => {
    const [from, to] = chains[at]!;
    const source = place(graph, members, from, folding, collapsed);
    const target = place(graph, members, to, folding, collapsed);
    remember(source, row.source.ip, row.source.node);
    remember(target, row.target.ip, row.target.node);
    const protocol = folding.edges === 'pair' ? '' : row.protocol;
    const id = `${source.id} > ${target.id} > ${protocol}`;
    let edge = edges.get(id);
    if (!edge) {
      edge = newEdge(id, source.id, target.id, protocol);
      edges.set(id, edge);
    }
    post(edge, row, folding.compare);
  });
  for (const edge of edges.values()) {
    settle(edge, folding);
    addTotals(graph.nodes.get(edge.source)!.asked, edge.now);
    addTotals(graph.nodes.get(edge.target)!.answered, edge.now);
    graph.edges.push(edge);
  }
  graph.edges.sort((a, b) => b.now.requests - a.now.requests || (a.id < b.id ? -1 : 1));
  judgeNodes(graph, members, folding);
  return graph;
}

/** A series lives on for an hour after its last request: an edge on which nothing happens is not drawn. */
function isActive(values: Values): boolean {
  return MEASURES.some((measure) => measure !== 'rtt' && (values[measure] ?? 0) > 0);
}

/** As many of the largest groups are folded as bring the number of nodes under the limit. */
function withinLimit(
  chains: ReadonlyArray<[Chain, Chain]>,
  folding: Folding
): { collapsed: ReadonlySet<string>; folded: string[] } {
  const shown = new Set<string>();
  const groups = new Map<string, { place: Place; depth: number; shown: Set<string> }>();
  const seen = new Set<Chain>();
  for (const pair of chains) {
    for (const chain of pair) {
      if (seen.has(chain)) {
        continue;
      }
      seen.add(chain);
      const index = shownIndex(chain, folding.expanded, folding.collapsed);
      const id = chain.places[index]!.id;
      shown.add(id);
      for (let depth = index - 1; depth >= 0; depth--) {
        const coarse = chain.places[depth]!;
        let group = groups.get(coarse.id);
        if (!group) {
          group = { place: coarse, depth, shown: new Set() };
          groups.set(coarse.id, group);
        }
        group.shown.add(id);
      }
    }
  }
  let excess = shown.size - folding.maxNodes;
  if (excess <= 0) {
    return { collapsed: folding.collapsed, folded: [] };
  }
  const collapsed = new Set(folding.collapsed);
  const folded: string[] = [];
  // Fine groups first (pods into workloads), then coarse ones; within a depth the largest first.
  const order = [...groups.values()].sort(
    (a, b) => b.depth - a.depth || b.shown.size - a.shown.size || (a.place.id < b.place.id ? -1 : 1)
  );
  const gone = new Set<string>();
  for (const group of order) {
    const still = [...group.shown].filter((id) => !gone.has(id));
    if (excess <= 0) {
      break;
    }
    if (still.length < 2 || folding.expanded.has(group.place.id)) {
      continue;
    }
    still.forEach((id) => gone.add(id));
    excess -= still.length - 1;
    collapsed.add(group.place.id);
    folded.push(group.place.title);
  }
  return { collapsed, folded };
}

function place(
  graph: Graph,
  members: Map<string, Set<string>>,
  chain: Chain,
  folding: Folding,
  collapsed: ReadonlySet<string>
): GraphNode {
  const index = shownIndex(chain, folding.expanded, collapsed);
  const shown = chain.places[index]!;
  const finer = chain.places[index + 1];
  let node = graph.nodes.get(shown.id);
  if (!node) {
    node = {
      ...shown,
      parent: index > 0 ? chain.places[index - 1]! : null,
      expandable: false,
      members: 0,
      addresses: [],
      machines: [],
      asked: emptyTotals(),
      answered: emptyTotals(),
      change: 'same',
      health: 'unknown',
    };
    graph.nodes.set(shown.id, node);
  }
  if (finer && finer.id !== shown.id) {
    node.expandable = true;
    let below = members.get(shown.id);
    if (!below) {
      below = new Set();
      members.set(shown.id, below);
    }
    below.add(finer.id);
  }
  return node;
}

function remember(node: GraphNode, address: string, machine: string): void {
  if (address && node.addresses.length < ADDRESSES_KEPT && !node.addresses.includes(address)) {
    node.addresses.push(address);
  }
  if (machine && node.machines.length < ADDRESSES_KEPT && !node.machines.includes(machine)) {
    node.machines.push(machine);
  }
}

function newEdge(id: string, source: string, target: string, protocol: string): GraphEdge {
  return {
    id,
    source,
    target,
    protocol,
    ports: [],
    now: emptyTotals(),
    before: null,
    change: 'same',
    health: 'unknown',
    rows: [],
  };
}

function post(edge: GraphEdge, row: Row, compare: boolean): void {
  addValues(edge.now, row.now);
  if (compare) {
    edge.before ??= emptyTotals();
    addValues(edge.before, row.before);
  }
  edge.rows.push(row);
  if (row.port && edge.ports.length < ADDRESSES_KEPT && !edge.ports.includes(row.port)) {
    edge.ports.push(row.port);
  }
  if (edge.protocol === '' && edge.rows.length === 1) {
    edge.protocol = row.protocol;
  }
}

function settle(edge: GraphEdge, folding: Folding): void {
  if (folding.edges === 'pair') {
    const protocols = [...new Set(edge.rows.map((row) => row.protocol))].filter(Boolean).sort();
    edge.protocol = protocols.length > 2 ? `${protocols[0]} +${protocols.length - 1}` : protocols.join(', ');
  }
  edge.change = edge.before ? changeOf(edge.before, edge.now, folding.changeFactor) : 'same';
  edge.health = healthOf(edge.now, folding.thresholds);
}

/** New, lost, or a rate or a share of errors that is `factor` times what it was. */
export function changeOf(before: Totals, now: Totals, factor: number): Change {
  const was = before.requests + before.connect_failures;
  const is = now.requests + now.connect_failures;
  if (was <= 0 || is <= 0) {
    return is > 0 ? 'new' : was > 0 ? 'lost' : 'same';
  }
  if (is / was >= factor || was / is >= factor) {
    return 'changed';
  }
  const failedBefore = before.requests > 0 ? before.errors / before.requests : 0;
  const failedNow = now.requests > 0 ? now.errors / now.requests : 0;
  return Math.abs(failedNow - failedBefore) >= 0.01 &&
    (failedNow >= failedBefore * factor || failedBefore >= failedNow * factor)
    ? 'changed'
    : 'same';
}

function judgeNodes(graph: Graph, members: ReadonlyMap<string, ReadonlySet<string>>, folding: Folding): void {
  const changes = new Map<string, Set<Change>>();
  for (const edge of graph.edges) {
    for (const id of [edge.source, edge.target]) {
      let found = changes.get(id);
      if (!found) {
        found = new Set();
        changes.set(id, found);
      }
      found.add(edge.change);
    }
  }
  for (const node of graph.nodes.values()) {
    node.members = members.get(node.id)?.size ?? 0;
    // What a node answers is its own doing; one that only asks is judged by what it got.
    node.health = healthOf(node.answered.requests > 0 ? node.answered : node.asked, folding.thresholds);
    const found = changes.get(node.id);
    const only = found?.size === 1 ? [...found][0]! : null;
    node.change = only === 'new' || only === 'lost' ? only : 'same';
  }
}

function unresolvedShare(rows: readonly Row[]): number | null {
  let all = 0;
  let nameless = 0;
  for (const row of rows) {
    const requests = row.now.requests ?? 0;
    all += requests;
    if (requests > 0 && (isUnresolved(row.source) || isUnresolved(row.target))) {
      nameless += requests;
    }
  }
  return all > 0 ? nameless / all : null;
}
