// SPDX-License-Identifier: Apache-2.0
/** Which part of a graph is shown: filters, focus on a node and its neighbours, search. */
import type { Graph, GraphEdge, GraphNode } from './model';

export type Direction = 'both' | 'upstream' | 'downstream';

export interface Selection {
  /** Empty: all. */
  protocols: readonly string[];
  namespaces: readonly string[];
  /** Requests per second below which an edge is hidden; edges with failures stay. */
  hideBelow: number;
  /** Only what changed against the earlier window. */
  changedOnly: boolean;
  focus: string | null;
  hops: number;
  direction: Direction;
}

export function select(graph: Graph, selection: Selection): Graph {
  let edges = graph.edges.filter((edge) => passes(graph, edge, selection));
  const kept = new Set<string>();
  if (selection.focus !== null && graph.nodes.has(selection.focus)) {
    const near = neighbourhood(edges, selection.focus, selection.hops, selection.direction);
    edges = edges.filter((edge) => near.edges.has(edge.id));
    near.nodes.forEach((id) => kept.add(id));
  }
  for (const edge of edges) {
    kept.add(edge.source);
    kept.add(edge.target);
  }
  const nodes = new Map<string, GraphNode>();
  for (const [id, node] of graph.nodes) {
    if (kept.has(id)) {
      nodes.set(id, node);
    }
  }
  return { ...graph, nodes, edges };
}

function passes(graph: Graph, edge: GraphEdge, selection: Selection): boolean {
  if (selection.protocols.length > 0 && !edge.rows.some((row) => selection.protocols.includes(row.protocol))) {
    return false;
  }
  if (selection.namespaces.length > 0) {
    const ends = [graph.nodes.get(edge.source)!, graph.nodes.get(edge.target)!];
    const inside = ends.some((end) => selection.namespaces.includes(end.namespace));
    const machines = edge.rows.some(
      (row) =>
        selection.namespaces.includes(row.source.namespace) || selection.namespaces.includes(row.target.namespace)
    );
    if (!inside && !machines) {
      return false;
    }
  }
  if (selection.changedOnly && edge.change === 'same') {
    return false;
  }
  const failed = edge.now.errors > 0 || edge.now.connect_failures > 0;
  return failed || edge.change === 'lost' || edge.now.requests >= selection.hideBelow;
}

/** Nodes and edges within `hops` of a node. Upstream is who asks it, downstream whom it asks. */
export function neighbourhood(
  edges: readonly GraphEdge[],
  centre: string,
  hops: number,
  direction: Direction
): { nodes: Set<string>; edges: Set<string> } {
  const nodes = new Set([centre]);
  const found = new Set<string>();
  const walk = (forward: boolean): void => {
    const near = new Map<string, GraphEdge[]>();
    for (const edge of edges) {
      const from = forward ? edge.source : edge.target;
      const list = near.get(from);
      if (list) {
        list.push(edge);
      } else {
        near.set(from, [edge]);
      }
    }
    const reached = new Set([centre]);
    let front = [centre];
    for (let hop = 0; hop < hops && front.length > 0; hop++) {
      const next: string[] = [];
      for (const id of front) {
        for (const edge of near.get(id) ?? []) {
          found.add(edge.id);
          const to = forward ? edge.target : edge.source;
          if (!reached.has(to)) {
            reached.add(to);
            nodes.add(to);
            next.push(to);
          }
        }
      }
      front = next;
    }
  };
  if (direction !== 'upstream') {
    walk(true);
  }
  if (direction !== 'downstream') {
    walk(false);
  }
  return { nodes, edges: found };
}

/** Nodes whose names or addresses contain the text, best match first. */
export function search(graph: Graph, text: string, limit = 20): GraphNode[] {
  const wanted = text.trim().toLowerCase();
  if (!wanted) {
    return [];
  }
  const found: Array<[number, GraphNode]> = [];
  for (const node of graph.nodes.values()) {
    const title = node.title.toLowerCase();
    const rank = title === wanted ? 0 : title.startsWith(wanted) ? 1 : title.includes(wanted) ? 2 : 3;
    const elsewhere = () =>
      node.namespace.toLowerCase().includes(wanted) || node.addresses.some((address) => address.includes(wanted));
    if (rank < 3 || elsewhere()) {
      found.push([rank, node]);
    }
  }
  found.sort(([a, x], [b, y]) => a - b || x.title.localeCompare(y.title));
  return found.slice(0, limit).map(([, node]) => node);
}

export function protocolsOf(graph: Graph): string[] {
  const names = new Set<string>();
  graph.edges.forEach((edge) => edge.rows.forEach((row) => names.add(row.protocol)));
  return [...names].filter(Boolean).sort();
}

export function namespacesOf(graph: Graph): string[] {
  const names = new Set<string>();
  graph.edges.forEach((edge) =>
    edge.rows.forEach((row) => {
      names.add(row.source.namespace);
      names.add(row.target.namespace);
    })
  );
  return [...names].filter(Boolean).sort();
}
