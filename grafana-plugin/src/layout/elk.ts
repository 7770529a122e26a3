// SPDX-License-Identifier: Apache-2.0
/** The layered layout by the Eclipse Layout Kernel, which has its own worker. */
import type { ELK, ElkNode } from 'elkjs/lib/elk-api';
import { GAP, LAYER_GAP, type LayoutRequest } from './model';

/** Above these ELK takes longer than a person waits, and layers held by forces take its place. */
export const ELK_NODES = 250;
export const ELK_LINKS = 800;

const OPTIONS: Record<string, string> = {
  'elk.algorithm': 'layered',
  'elk.direction': 'RIGHT',
  'elk.layered.spacing.nodeNodeBetweenLayers': String(LAYER_GAP - 60),
  'elk.spacing.nodeNode': String(GAP / 2),
  'elk.spacing.componentComponent': String(GAP),
  'elk.layered.thoroughness': '3',
  'elk.layered.nodePlacement.strategy': 'BRANDES_KOEPF',
  'elk.edgeRouting': 'POLYLINE',
};

export function suitsElk(request: LayoutRequest): boolean {
  return (
    request.kind === 'layered' &&
    request.nodes.length <= ELK_NODES &&
    request.links.length <= ELK_LINKS &&
    request.nodes.every((node) => node.fixed === null)
  );
}

/** x and y of each node, in the order of the request. Rejects if ELK cannot lay it out. */
export async function elkPlaces(elk: ELK, request: LayoutRequest): Promise<Float64Array> {
  const graph: ElkNode = {
    id: 'graph',
    layoutOptions: OPTIONS,
    children: request.nodes.map((node) => ({
      id: node.id,
      width: node.radius * 2 + 40,
      height: node.radius * 2 + 24,
    })),
    edges: request.links
      .filter((link) => link.source !== link.target)
      .map((link, at) => ({ id: `link-${at}`, sources: [link.source], targets: [link.target] })),
  };
  const laid = await elk.layout(graph);
  const places = new Float64Array(request.nodes.length * 2);
  const found = new Map((laid.children ?? []).map((child) => [child.id, child]));
  request.nodes.forEach((node, at) => {
    const child = found.get(node.id);
    places[2 * at] = (child?.x ?? 0) + (child?.width ?? 0) / 2;
    places[2 * at + 1] = (child?.y ?? 0) + (child?.height ?? 0) / 2;
  });
  return places;
}
