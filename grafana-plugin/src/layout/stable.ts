// SPDX-License-Identifier: Apache-2.0
/** Keeps nodes where they are between refreshes: what was placed before, or is pinned, holds still. */
import type { Graph, GraphEdge } from '../graph/model';
import type { LayoutKind, LayoutRequest, Point, Positions } from './model';

/** With more than this share of new nodes there is nothing worth keeping, and all are placed anew. */
const NEW_SHARE = 0.6;

export interface Plan {
  request: LayoutRequest;
  /** False: every node has a place already, and nothing needs to be asked. */
  needed: boolean;
}

/** `radius` tells how large a node is drawn. `pins` are places that a person chose. */
export function planLayout(
  graph: Graph,
  kind: LayoutKind,
  known: Positions,
  pins: ReadonlyMap<string, Point>,
  radius: (id: string) => number
): Plan {
  const nodes = [...graph.nodes.values()];
  const fresh = nodes.filter((node) => !known.has(node.id) && !pins.has(node.id)).length;
  const keep = nodes.length > 0 && fresh / nodes.length <= NEW_SHARE;
  const near = keep ? neighboursOf(graph.edges, known) : null;
  return {
    needed: fresh > 0,
    request: {
      kind,
      nodes: nodes.map((node) => ({
        id: node.id,
        group: node.namespace || node.kind,
        radius: radius(node.id),
        fixed: pins.get(node.id) ?? (keep ? (known.get(node.id) ?? null) : null),
        near: (node.parent && known.get(node.parent.id)) ?? near?.get(node.id) ?? null,
      })),
      links: linksOf(graph.edges),
    },
  };
}

/** For each node without a place the middle of those of its neighbours that have one. */
function neighboursOf(edges: readonly GraphEdge[], known: Positions): Positions {
  const sums = new Map<string, Point & { count: number }>();
  const add = (id: string, at: Point | undefined): void => {
    if (at && !known.has(id)) {
      const sum = sums.get(id) ?? { x: 0, y: 0, count: 0 };
      sums.set(id, { x: sum.x + at.x, y: sum.y + at.y, count: sum.count + 1 });
    }
  };
  for (const { source, target } of edges) {
    add(source, known.get(target));
    add(target, known.get(source));
  }
  return new Map([...sums].map(([id, { x, y, count }]) => [id, { x: x / count, y: y / count }]));
}

/** One link for each pair of nodes, whatever they speak; the first direction seen is that of the busiest edge. */
function linksOf(edges: readonly GraphEdge[]): LayoutRequest['links'] {
  const seen = new Set<string>();
  const links: LayoutRequest['links'] = [];
  for (const { source, target } of edges) {
    const pair = source < target ? `${source}\n${target}` : `${target}\n${source}`;
    if (!seen.has(pair)) {
      seen.add(pair);
      links.push({ source, target });
    }
  }
  return links;
}
