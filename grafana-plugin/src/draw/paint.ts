// SPDX-License-Identifier: Apache-2.0
/** Draws a scene on a canvas. Edges of one look are one path, so that thousands cost a few strokes. */
import { errorShare, type Kind } from '../graph/model';
import type { Point } from '../layout/model';
import { toDrawing, type Camera } from './camera';
import { SHAPES, SIGNS } from './icons';
import type { Palette } from './palette';
import { pointAt, type EdgeStyle, type Scene, type SceneEdge, type SceneNode } from './scene';

export interface View {
  width: number;
  height: number;
  /** Device pixels for each CSS pixel. */
  ratio: number;
  camera: Camera;
}

export interface Marks {
  hoveredNode: string | null;
  hoveredEdge: string | null;
  chosenNode: string | null;
  chosenEdge: string | null;
  found: ReadonlySet<string>;
  pinned: ReadonlySet<string>;
  /** Whether the map has the keyboard: the node under it gets a second outline. */
  keyboard: boolean;
}

const EDGE_LABELS_AT_MOST = 140;
const NODE_LABELS_AT_MOST = 260;
const ICON_PIXELS = 7;
const ARROW_PIXELS = 2.2;
const LABEL_FONT = 11;
const EDGE_FONT = 10;

export function edgeColour(style: EdgeStyle, palette: Palette): string {
  return 'health' in style.colour ? palette.health[style.colour.health] : palette.change[style.colour.change];
}

export function clear(context: CanvasRenderingContext2D, view: View, palette: Palette): void {
  context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  context.globalAlpha = 1;
  context.setLineDash([]);
  context.fillStyle = palette.background;
  context.fillRect(0, 0, view.width, view.height);
}

/** Everything but what the pointer and the keyboard mark. */
export function paintScene(context: CanvasRenderingContext2D, scene: Scene, view: View, palette: Palette): void {
  clear(context, view, palette);
  aim(context, view);
  const shown = visible(scene, view);
  paintEdges(context, shown.edges, view, palette, shown.edges.length > 600 ? 0.55 : 0.85);
  for (const node of shown.nodes) {
    paintNode(context, node, view, palette);
  }
  paintLabels(context, shown, view, palette);
}

/** Over the scene: what is hovered, chosen, found and pinned. */
export function paintMarks(
  context: CanvasRenderingContext2D,
  scene: Scene,
  view: View,
  palette: Palette,
  marks: Marks
): void {
  const nodes = new Set([marks.hoveredNode, marks.chosenNode].filter((id): id is string => id !== null));
  const edges = scene.edges.filter(
    ({ edge }) =>
      edge.id === marks.hoveredEdge || edge.id === marks.chosenEdge || nodes.has(edge.source) || nodes.has(edge.target)
  );
  aim(context, view);
  if (edges.length > 0) {
    paintEdges(context, edges, view, palette, 1, 1.6);
    const near = new Set(edges.flatMap(({ from, to }) => [from, to]));
    near.forEach((node) => paintNode(context, node, view, palette));
    paintNodeLabels(context, [...near].slice(0, NODE_LABELS_AT_MOST), view, palette);
    paintEdgeLabels(context, edges.slice(0, 40), view, palette);
  }
  for (const id of marks.found) {
    outline(context, scene.byId.get(id), view, palette.change.changed, 7, 3);
  }
  for (const id of marks.pinned) {
    pin(context, scene.byId.get(id), view, palette);
  }
  if (marks.chosenNode) {
    outline(context, scene.byId.get(marks.chosenNode), view, palette.accent, 5, 2.5);
    if (marks.keyboard) {
      outline(context, scene.byId.get(marks.chosenNode), view, palette.text, 9, 1.5);
    }
  }
}

function aim(context: CanvasRenderingContext2D, { camera, ratio }: View): void {
  const scale = camera.scale * ratio;
  context.setTransform(scale, 0, 0, scale, camera.x * ratio, camera.y * ratio);
}

interface Shown {
  nodes: SceneNode[];
  edges: SceneEdge[];
}

export function visible(scene: Scene, view: View): Shown {
  const from = toDrawing(view.camera, { x: -40, y: -40 });
  const to = toDrawing(view.camera, { x: view.width + 40, y: view.height + 40 });
  const inside = (left: number, top: number, right: number, bottom: number): boolean =>
    right >= from.x && left <= to.x && bottom >= from.y && top <= to.y;
  return {
    nodes: scene.nodes.filter(({ x, y, radius }) => inside(x - radius, y - radius, x + radius, y + radius)),
    edges: scene.edges.filter(({ start, control, end }) =>
      inside(
        Math.min(start.x, control.x, end.x),
        Math.min(start.y, control.y, end.y),
        Math.max(start.x, control.x, end.x),
        Math.max(start.y, control.y, end.y)
      )
    ),
  };
}

interface Batch {
  colour: string;
  width: number;
  dash: readonly number[];
  lines: Path2D;
  arrows: Path2D;
}

function paintEdges(
  context: CanvasRenderingContext2D,
  edges: readonly SceneEdge[],
  view: View,
  palette: Palette,
  alpha: number,
  widen = 1
): void {
  const { scale } = view.camera;
  const batches = new Map<string, Batch>();
  const withArrows = scale > 0.12 || edges.length < 600;
  for (const edge of edges) {
    const colour = edgeColour(edge.style, palette);
    // Widths in half pixels, so that edges of nearly one width are one stroke.
    const width = Math.max(0.8 / scale, Math.round(edge.width * widen * 2) / 2);
    const key = `${colour}|${width}|${edge.style.dash.join()}`;
    let batch = batches.get(key);
    if (!batch) {
      batch = { colour, width, dash: edge.style.dash, lines: new Path2D(), arrows: new Path2D() };
      batches.set(key, batch);
    }
    batch.lines.moveTo(edge.start.x, edge.start.y);
    batch.lines.quadraticCurveTo(edge.control.x, edge.control.y, edge.end.x, edge.end.y);
    if (withArrows) {
      arrow(batch.arrows, edge, width);
    }
  }
  context.globalAlpha = alpha;
  context.lineCap = 'butt';
  for (const batch of batches.values()) {
    context.strokeStyle = batch.colour;
    context.fillStyle = batch.colour;
    context.lineWidth = batch.width;
    context.setLineDash(batch.dash as number[]);
    context.stroke(batch.lines);
    if (withArrows) {
      context.fill(batch.arrows);
    }
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function arrow(path: Path2D, edge: SceneEdge, width: number): void {
  const { control, end } = edge;
  const dx = end.x - control.x;
  const dy = end.y - control.y;
  const length = Math.hypot(dx, dy) || 1;
  const size = 4 + width * ARROW_PIXELS;
  const [ux, uy] = [dx / length, dy / length];
  const tip = { x: end.x + ux * 5, y: end.y + uy * 5 };
  path.moveTo(tip.x, tip.y);
  path.lineTo(tip.x - ux * size - uy * size * 0.5, tip.y - uy * size + ux * size * 0.5);
  path.lineTo(tip.x - ux * size + uy * size * 0.5, tip.y - uy * size - ux * size * 0.5);
  path.closePath();
}

const paths = new Map<string, Path2D>();

function pathOf(which: 'shape' | 'sign', kind: Kind): Path2D {
  const key = `${which}/${kind}`;
  let path = paths.get(key);
  if (!path) {
    path = new Path2D();
    (which === 'shape' ? SHAPES : SIGNS)[kind](path);
    paths.set(key, path);
  }
  return path;
}

function paintNode(context: CanvasRenderingContext2D, scene: SceneNode, view: View, palette: Palette): void {
  const { node, x, y, radius } = scene;
  const { scale } = view.camera;
  const lost = node.change === 'lost';
  context.save();
  context.translate(x, y);
  context.scale(radius, radius);
  const shape = pathOf('shape', node.kind);
  context.fillStyle = node.kind === 'external' || node.kind === 'unresolved' ? palette.background : palette.surface;
  context.fill(shape);
  context.lineWidth = 1.5 / radius;
  context.strokeStyle = node.kind === 'unresolved' || lost ? palette.faint : palette.outline;
  context.setLineDash(node.kind === 'unresolved' || lost ? [0.25, 0.2] : []);
  context.stroke(shape);
  context.setLineDash([]);
  if (radius * scale > ICON_PIXELS) {
    context.lineWidth = 0.1;
    context.lineJoin = 'round';
    context.lineCap = 'round';
    context.strokeStyle = lost ? palette.faint : palette.text;
    context.stroke(pathOf('sign', node.kind));
  }
  context.restore();
  ring(context, scene, palette);
  if (node.health === 'bad') {
    badge(context, scene, palette, '!');
  }
  if (node.change === 'new') {
    badge(context, scene, palette, '+');
  }
  if (node.expandable && node.members > 1 && scale > 0.35) {
    members(context, scene, palette);
  }
}

/** The ring around a node: its whole length are its requests, the thick part from the top on are those that failed. */
function ring(context: CanvasRenderingContext2D, { node, x, y, radius }: SceneNode, palette: Palette): void {
  const totals = node.answered.requests > 0 ? node.answered : node.asked;
  const failed = errorShare(totals);
  const top = -Math.PI / 2;
  const around = radius + 2.5;
  context.lineWidth = 2;
  context.strokeStyle = palette.health[node.health === 'bad' && failed !== null && failed < 0.5 ? 'good' : node.health];
  if (node.health === 'warning') {
    context.strokeStyle = palette.health.warning;
    context.lineWidth = 3;
  }
  context.beginPath();
  context.arc(x, y, around, 0, 2 * Math.PI);
  context.stroke();
  if (failed !== null && failed > 0) {
    context.lineWidth = 5;
    context.strokeStyle = palette.health.bad;
    context.beginPath();
    context.arc(x, y, around + 0.5, top, top + Math.max(0.12, failed) * 2 * Math.PI);
    context.stroke();
  }
}

function badge(
  context: CanvasRenderingContext2D,
  { x, y, radius }: SceneNode,
  palette: Palette,
  sign: '!' | '+'
): void {
  const side = sign === '!' ? 0.75 : -0.75;
  const at = { x: x + radius * side, y: y - radius * 0.75 };
  context.beginPath();
  context.arc(at.x, at.y, 7, 0, 2 * Math.PI);
  context.fillStyle = sign === '!' ? palette.health.bad : palette.change.new;
  context.fill();
  write(context, sign, at.x, at.y + 0.5, 10, palette, palette.background, true);
}

function members(context: CanvasRenderingContext2D, { node, x, y, radius }: SceneNode, palette: Palette): void {
  const text = String(node.members);
  const at = { x: x + radius * 0.78, y: y + radius * 0.78 };
  context.beginPath();
  context.arc(at.x, at.y, 5 + text.length * 2.5, 0, 2 * Math.PI);
  context.fillStyle = palette.background;
  context.fill();
  context.lineWidth = 1;
  context.strokeStyle = palette.outline;
  context.stroke();
  write(context, text, at.x, at.y + 0.5, 9, palette, palette.text, true);
}

function write(
  context: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  size: number,
  palette: Palette,
  colour: string,
  bold = false
): void {
  context.font = `${bold ? '600 ' : ''}${size}px ${palette.font}`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

function paintLabels(context: CanvasRenderingContext2D, shown: Shown, view: View, palette: Palette): void {
  if (shown.edges.length <= EDGE_LABELS_AT_MOST && view.camera.scale > 0.4) {
    paintEdgeLabels(context, shown.edges, view, palette);
  }
  const important = [...shown.nodes];
  if (important.length > NODE_LABELS_AT_MOST) {
    important.sort(
      (a, b) => b.node.answered.requests + b.node.asked.requests - a.node.answered.requests - a.node.asked.requests
    );
    important.length = view.camera.scale > 0.5 ? NODE_LABELS_AT_MOST : 40;
  }
  paintNodeLabels(context, important, view, palette);
}

const LONGEST_TITLE = 26;

function shortened(title: string): string {
  return title.length > LONGEST_TITLE ? `${title.slice(0, 14)}…${title.slice(-11)}` : title;
}

/** Labels keep their size on the screen until they would cover their neighbours. */
function paintNodeLabels(
  context: CanvasRenderingContext2D,
  nodes: readonly SceneNode[],
  { camera }: View,
  palette: Palette
): void {
  const size = Math.min(LABEL_FONT / camera.scale, LABEL_FONT * 2.2);
  if (size * camera.scale < 5) {
    return;
  }
  context.lineWidth = size / 4;
  context.lineJoin = 'round';
  context.strokeStyle = palette.background;
  for (const { node, x, y, radius } of nodes) {
    const title = shortened(node.title);
    const below = y + radius + 8 + size / 2;
    context.font = `${size}px ${palette.font}`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.strokeText(title, x, below);
    write(context, title, x, below, size, palette, node.change === 'lost' ? palette.faint : palette.text);
  }
}

function paintEdgeLabels(
  context: CanvasRenderingContext2D,
  edges: readonly SceneEdge[],
  { camera }: View,
  palette: Palette
): void {
  const size = Math.min(EDGE_FONT / camera.scale, EDGE_FONT * 1.5);
  if (size * camera.scale < 6) {
    return;
  }
  context.font = `${size}px ${palette.font}`;
  for (const edge of edges) {
    if (!edge.label) {
      continue;
    }
    // Not in the middle: there the label of the other direction would be.
    const at: Point = pointAt(edge, 0.55);
    const width = context.measureText(edge.label).width + size * 0.6;
    context.globalAlpha = 0.85;
    context.fillStyle = palette.background;
    context.fillRect(at.x - width / 2, at.y - size * 0.7, width, size * 1.4);
    context.globalAlpha = 1;
    write(context, edge.label, at.x, at.y, size, palette, palette.outline);
  }
}

function outline(
  context: CanvasRenderingContext2D,
  node: SceneNode | undefined,
  { camera }: View,
  colour: string,
  distance: number,
  pixels: number
): void {
  if (!node) {
    return;
  }
  context.beginPath();
  context.arc(node.x, node.y, node.radius + distance, 0, 2 * Math.PI);
  context.lineWidth = Math.max(pixels, pixels / camera.scale);
  context.strokeStyle = colour;
  context.stroke();
}

function pin(context: CanvasRenderingContext2D, node: SceneNode | undefined, { camera }: View, palette: Palette): void {
  if (!node || camera.scale < 0.25) {
    return;
  }
  const x = node.x;
  const y = node.y - node.radius - 6;
  context.beginPath();
  context.moveTo(x, y + 4);
  context.lineTo(x, y - 2);
  context.lineWidth = 1.6;
  context.strokeStyle = palette.text;
  context.stroke();
  context.beginPath();
  context.arc(x, y - 5, 4, 0, 2 * Math.PI);
  context.fillStyle = palette.text;
  context.fill();
}
