// SPDX-License-Identifier: Apache-2.0
/** What is to be drawn, in the drawing's own coordinates: made when data or places change, not for every frame. */
import { meanSeconds, type Graph, type GraphEdge, type GraphNode, type Health } from '../graph/model';
import { rateText, secondsText } from '../graph/text';
import type { Point, Positions } from '../layout/model';

export type LabelMode = 'latency' | 'rate' | 'both' | 'none';

export interface SceneNode {
  node: GraphNode;
  x: number;
  y: number;
  radius: number;
}

export interface SceneEdge {
  edge: GraphEdge;
  from: SceneNode;
  to: SceneNode;
  /** Start, control point and end of a quadratic curve; for an edge to itself the loop's top is the control point. */
  start: Point;
  control: Point;
  end: Point;
  width: number;
  style: EdgeStyle;
  label: string;
}

export interface EdgeStyle {
  colour: { health: Health } | { change: GraphEdge['change'] };
  dash: readonly number[];
}

export interface Scene {
  nodes: SceneNode[];
  edges: SceneEdge[];
  byId: Map<string, SceneNode>;
  bounds: { left: number; top: number; right: number; bottom: number };
}

const SMALLEST = 15;
const LARGEST = 30;
const THINNEST = 1;
const THICKEST = 9;
const BEND = 26;

/** Health as a dash: whole, long dashes, short dashes. A lost edge is dotted. */
export const DASHES: Record<Health | 'lost', readonly number[]> = {
  unknown: [1, 4],
  good: [],
  warning: [12, 5],
  bad: [5, 5],
  lost: [2, 6],
};

export function radiusOf(node: GraphNode): number {
  const requests = node.answered.requests + node.asked.requests;
  const small = node.level === 'pod' ? 0.8 : 1;
  return Math.min(LARGEST, SMALLEST + 3 * Math.log10(1 + requests)) * small;
}

export function widthOf(requests: number): number {
  return Math.min(THICKEST, THINNEST + 1.6 * Math.log10(1 + requests));
}

export function makeScene(graph: Graph, positions: Positions, labels: LabelMode, compare: boolean): Scene {
  const byId = new Map<string, SceneNode>();
  const bounds = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  for (const node of graph.nodes.values()) {
    const at = positions.get(node.id);
    if (!at) {
      continue;
    }
    const radius = radiusOf(node);
    byId.set(node.id, { node, x: at.x, y: at.y, radius });
    bounds.left = Math.min(bounds.left, at.x - radius);
    bounds.top = Math.min(bounds.top, at.y - radius);
    bounds.right = Math.max(bounds.right, at.x + radius);
    bounds.bottom = Math.max(bounds.bottom, at.y + radius);
  }
  const parallel = new Map<string, number>();
  const both = new Set<string>();
  const directed = new Set(graph.edges.map((edge) => `${edge.source}\n${edge.target}`));
  for (const edge of graph.edges) {
    if (directed.has(`${edge.target}\n${edge.source}`)) {
      both.add(edge.id);
    }
  }
  const edges: SceneEdge[] = [];
  for (const edge of graph.edges) {
    const from = byId.get(edge.source);
    const to = byId.get(edge.target);
    if (!from || !to) {
      continue;
    }
    const key = `${edge.source}\n${edge.target}`;
    const rank = parallel.get(key) ?? 0;
    parallel.set(key, rank + 1);
    edges.push({
      edge,
      from,
      to,
      ...curve(from, to, rank, both.has(edge.id)),
      width: widthOf(edge.now.requests),
      style: styleOf(edge, compare),
      label: labelOf(edge, labels, compare),
    });
  }
  if (byId.size === 0) {
    Object.assign(bounds, { left: 0, top: 0, right: 1, bottom: 1 });
  }
  return { nodes: [...byId.values()], edges, byId, bounds };
}

/** Edges of one direction bend to their right, so that those of the other direction lie beside them. */
export function curve(
  from: SceneNode,
  to: SceneNode,
  rank: number,
  hasOther: boolean
): Pick<SceneEdge, 'start' | 'control' | 'end'> {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const length = Math.hypot(dx, dy);
  if (length < 1) {
    const r = from.radius;
    const reach = r * (2.4 + rank * 0.8);
    return {
      start: { x: from.x - r * 0.7, y: from.y - r * 0.7 },
      control: { x: from.x, y: from.y - r - reach },
      end: { x: from.x + r * 0.7, y: from.y - r * 0.7 },
    };
  }
  const bend = rank === 0 && !hasOther ? 0 : BEND * (rank + 1);
  const control = { x: (from.x + to.x) / 2 - (dy / length) * bend, y: (from.y + to.y) / 2 + (dx / length) * bend };
  return {
    start: towards(from, control, from.radius + 3),
    control,
    end: towards(to, control, to.radius + 7),
  };
}

function towards(node: SceneNode, point: Point, distance: number): Point {
  const dx = point.x - node.x;
  const dy = point.y - node.y;
  const length = Math.hypot(dx, dy) || 1;
  return { x: node.x + (dx / length) * distance, y: node.y + (dy / length) * distance };
}

function styleOf(edge: GraphEdge, compare: boolean): EdgeStyle {
  return {
    colour: compare ? { change: edge.change } : { health: edge.health },
    dash: edge.change === 'lost' ? DASHES.lost : DASHES[edge.health],
  };
}

const CHANGE_MARKS = { same: '', new: '+ ', lost: '× ', changed: '~ ' };

function labelOf(edge: GraphEdge, labels: LabelMode, compare: boolean): string {
  const mark = compare ? CHANGE_MARKS[edge.change] : '';
  if (labels === 'none') {
    return mark.trim();
  }
  const mean = meanSeconds(edge.now);
  const parts = [edge.protocol];
  if (labels !== 'latency') {
    parts.push(rateText(edge.now.requests));
  }
  if (labels !== 'rate' && mean !== null) {
    parts.push(secondsText(mean));
  }
  return mark + parts.filter(Boolean).join(' ');
}

/** The point of an edge's curve at `t`, 0 to 1. */
export function pointAt(edge: Pick<SceneEdge, 'start' | 'control' | 'end'>, t: number): Point {
  const u = 1 - t;
  return {
    x: u * u * edge.start.x + 2 * u * t * edge.control.x + t * t * edge.end.x,
    y: u * u * edge.start.y + 2 * u * t * edge.control.y + t * t * edge.end.y,
  };
}

/** The node under a point, the nearest one if several. */
export function nodeAt(scene: Scene, point: Point, slack: number): SceneNode | null {
  let best: SceneNode | null = null;
  let nearest = Infinity;
  for (const node of scene.nodes) {
    const distance = Math.hypot(node.x - point.x, node.y - point.y);
    if (distance <= node.radius + slack && distance < nearest) {
      best = node;
      nearest = distance;
    }
  }
  return best;
}

const STEPS = 12;

/** The edge within `slack` of a point, the nearest one if several. */
export function edgeAt(scene: Scene, point: Point, slack: number): SceneEdge | null {
  let best: SceneEdge | null = null;
  let nearest = slack;
  for (const edge of scene.edges) {
    const { start, control, end } = edge;
    const reach = slack + edge.width;
    if (
      point.x < Math.min(start.x, control.x, end.x) - reach ||
      point.x > Math.max(start.x, control.x, end.x) + reach ||
      point.y < Math.min(start.y, control.y, end.y) - reach ||
      point.y > Math.max(start.y, control.y, end.y) + reach
    ) {
      continue;
    }
    let last = start;
    for (let step = 1; step <= STEPS; step++) {
      const next = pointAt(edge, step / STEPS);
      const distance = fromSegment(point, last, next) - edge.width / 2;
      if (distance < nearest) {
        nearest = distance;
        best = edge;
      }
      last = next;
    }
  }
  return best;
}

function fromSegment(point: Point, a: Point, b: Point): number {
  const dx = b.x - a.x;
  const dy = b.y - a.y;
  const square = dx * dx + dy * dy;
  const t = square === 0 ? 0 : Math.max(0, Math.min(1, ((point.x - a.x) * dx + (point.y - a.y) * dy) / square));
  return Math.hypot(point.x - a.x - t * dx, point.y - a.y - t * dy);
}
