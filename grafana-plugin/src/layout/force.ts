// SPDX-License-Identifier: Apache-2.0
/** Layouts by d3-force: free, or with each node held on its layer. Deterministic: d3 draws its jitter from a fixed seed. */
import {
  forceCollide,
  forceLink,
  forceManyBody,
  forceSimulation,
  forceX,
  forceY,
  type Simulation,
  type SimulationNodeDatum,
} from 'd3-force';
import { layersOf } from './layers';
import { GAP, LAYER_GAP, type LayoutRequest } from './model';

interface Body extends SimulationNodeDatum {
  id: string;
  radius: number;
  /** Where its group, or its layer, draws it. */
  homeX: number;
  homeY: number;
}

const TICKS = 220;
const TICKS_LARGE = 120;
const LARGE = 600;
/** Nodes that were there already hold still, so those that are new need only a few ticks to find their places. */
const TICKS_SETTLED = 60;
/** Panels are wider than high: drawings are pulled together more from above and below than from the sides. */
const WIDE = 1.7;
const GOLDEN_ANGLE = Math.PI * (3 - Math.sqrt(5));

export class ForceLayout {
  private readonly simulation: Simulation<Body, undefined>;
  private readonly bodies: Body[];
  private readonly ticks: number;
  private done = 0;

  constructor(request: LayoutRequest) {
    this.bodies = request.kind === 'layered' ? layeredBodies(request) : groupedBodies(request);
    const settled = request.nodes.some((node) => node.fixed !== null);
    const large = this.bodies.length > LARGE;
    this.ticks = settled ? TICKS_SETTLED : large ? TICKS_LARGE : TICKS;
    const links = request.links
      .filter((link) => link.source !== link.target)
      .map((link) => ({ source: link.source, target: link.target }));
    const layered = request.kind === 'layered';
    const pull = forceLink<Body, { source: string; target: string }>(links)
      .id((body) => body.id)
      .distance(layered ? LAYER_GAP : GAP * 2);
    if (layered) {
      pull.strength(0.08); // only along the layer: across it a node is held by its layer
    }
    this.simulation = forceSimulation(this.bodies)
      .force('link', pull)
      .force(
        'charge',
        forceManyBody<Body>()
          .strength(layered ? -120 : -GAP * 9)
          .distanceMax(GAP * 12)
          .theta(large ? 1.2 : 0.9)
      )
      .force(
        'collide',
        forceCollide<Body>()
          .radius((body) => body.radius + GAP / 2.5)
          .iterations(large ? 1 : 2)
      )
      .force('x', forceX<Body>((body) => body.homeX).strength(layered ? 1 : 0.06 / WIDE))
      .force('y', forceY<Body>((body) => body.homeY).strength(layered ? 0.02 : 0.06 * WIDE))
      .alphaDecay(1 - Math.pow(0.002, 1 / this.ticks))
      .stop();
  }

  /** Goes on for some ticks. Returns whether it is finished. */
  advance(ticks: number): boolean {
    for (let tick = 0; tick < ticks && this.done < this.ticks; tick++) {
      this.simulation.tick();
      this.done++;
    }
    return this.done >= this.ticks;
  }

  places(): Float64Array {
    const places = new Float64Array(this.bodies.length * 2);
    this.bodies.forEach((body, at) => {
      places[2 * at] = body.x ?? 0;
      places[2 * at + 1] = body.y ?? 0;
    });
    return places;
  }
}

/** Groups on a sunflower spiral around the middle, the nodes of a group on a smaller one around its place. */
function groupedBodies(request: LayoutRequest): Body[] {
  const sizes = new Map<string, number>();
  request.nodes.forEach((node) => sizes.set(node.group, (sizes.get(node.group) ?? 0) + 1));
  const groups = [...sizes].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
  const homes = new Map<string, { x: number; y: number; placed: number }>();
  let area = 0;
  groups.forEach(([group, size], at) => {
    const angle = at * GOLDEN_ANGLE;
    const radius = groups.length === 1 ? 0 : Math.sqrt(area + size / 2) * GAP * 1.1;
    homes.set(group, {
      x: radius * Math.cos(angle) * Math.sqrt(WIDE),
      y: (radius * Math.sin(angle)) / Math.sqrt(WIDE),
      placed: 0,
    });
    area += size;
  });
  return request.nodes.map((node) => {
    const home = homes.get(node.group)!;
    const turn = home.placed * GOLDEN_ANGLE;
    const away = Math.sqrt(home.placed) * GAP * 0.6;
    home.placed++;
    return body(node, home.x, home.y, home.x + away * Math.cos(turn), home.y + away * Math.sin(turn));
  });
}

function layeredBodies(request: LayoutRequest): Body[] {
  const layers = layersOf(
    request.nodes.map((node) => node.id),
    request.links
  );
  const filled = new Map<number, number>();
  const order = request.nodes
    .map((node, at) => ({ node, at }))
    .sort((a, b) => (a.node.group < b.node.group ? -1 : a.node.group > b.node.group ? 1 : a.at - b.at));
  const bodies = new Array<Body>(request.nodes.length);
  for (const { node, at } of order) {
    const layer = layers.get(node.id)!;
    const row = filled.get(layer) ?? 0;
    filled.set(layer, row + 1);
    const y = (row % 2 === 0 ? 1 : -1) * Math.ceil(row / 2) * GAP * 0.8;
    bodies[at] = body(node, layer * LAYER_GAP, 0, layer * LAYER_GAP, y);
  }
  return bodies;
}

function body(node: LayoutRequest['nodes'][number], homeX: number, homeY: number, x: number, y: number): Body {
  const held = node.fixed;
  const near = node.near ? { x: node.near.x + (x - homeX) / 3, y: node.near.y + (y - homeY) / 3 } : { x, y };
  return {
    id: node.id,
    radius: node.radius,
    homeX,
    homeY,
    x: held ? held.x : near.x,
    y: held ? held.y : near.y,
    fx: held ? held.x : null,
    fy: held ? held.y : null,
  };
}
