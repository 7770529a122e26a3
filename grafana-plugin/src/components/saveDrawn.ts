// SPDX-License-Identifier: Apache-2.0
import type { Graph } from '../graph/model';
import type { Positions } from '../layout/model';

export interface DrawnJson {
  view: string;
  nodes: Array<Record<string, unknown>>;
  edges: Array<Record<string, unknown>>;
}

/** What is on the map, with places: for a report, or to compare with. */
export function drawnJson(view: string, graph: Graph, positions: Positions): DrawnJson {
  return {
    view,
    nodes: [...graph.nodes.values()].map((node) => ({
      id: node.id,
      kind: node.kind,
      title: node.title,
      namespace: node.namespace,
      health: node.health,
      change: node.change,
      members: node.members,
      requests_answered: node.answered.requests,
      requests_asked: node.asked.requests,
      ...positions.get(node.id),
    })),
    edges: graph.edges.map((edge) => ({
      source: edge.source,
      target: edge.target,
      protocol: edge.protocol,
      health: edge.health,
      change: edge.change,
      ...edge.now,
    })),
  };
}

/** Hands the JSON to the browser as a file. */
export function saveDrawn(drawn: DrawnJson): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(drawn, null, 1)], { type: 'application/json' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `topology-${drawn.view}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 0);
}
