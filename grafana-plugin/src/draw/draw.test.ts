// SPDX-License-Identifier: Apache-2.0
import { createTheme } from '@grafana/data';
import { emptyTotals, type GraphNode } from '../graph/model';
import { fitted, toDrawing, toScreen, zoomed } from './camera';
import { paletteOf } from './palette';
import { curve, DASHES, edgeAt, nodeAt, pointAt, widthOf, type Scene, type SceneNode } from './scene';

function at(x: number, y: number, id = `${x},${y}`): SceneNode {
  const node: GraphNode = {
    id,
    kind: 'workload',
    level: 'workload',
    title: id,
    subtitle: '',
    namespace: '',
    parent: null,
    expandable: false,
    members: 0,
    addresses: [],
    machines: [],
    asked: emptyTotals(),
    answered: emptyTotals(),
    change: 'same',
    health: 'good',
  };
  return { node, x, y, radius: 20 };
}

describe('curves', () => {
  it('lie beside each other when both directions are drawn', () => {
    const [a, b] = [at(0, 0), at(300, 0)];
    const there = pointAt(curve(a, b, 0, true), 0.5);
    const back = pointAt(curve(b, a, 0, true), 0.5);
    expect(Math.sign(there.y)).toBe(-Math.sign(back.y));
    expect(Math.abs(there.y - back.y)).toBeGreaterThan(15);
    expect(pointAt(curve(a, b, 0, false), 0.5).y).toBeCloseTo(0);
    expect(pointAt(curve(a, b, 1, false), 0.5).y).not.toBeCloseTo(0);
  });

  it('begin and end at the nodes, and loop for one that asks itself', () => {
    const { start, end } = curve(at(0, 0), at(300, 0), 0, false);
    expect(start.x).toBeCloseTo(23);
    expect(end.x).toBeCloseTo(273);
    expect(curve(at(0, 0), at(0, 0), 0, false).control.y).toBeLessThan(-40);
  });

  it('grow with the logarithm of the rate', () => {
    expect(widthOf(0)).toBe(1);
    expect(widthOf(10)).toBeLessThan(widthOf(100));
    expect(widthOf(1e9)).toBe(9);
  });
});

it('finds the node and the edge under a point', () => {
  const [a, b] = [at(0, 0, 'a'), at(300, 0, 'b')];
  const line = { ...curve(a, b, 0, false), width: 2 };
  const edge = {
    edge: { id: 'e' },
    from: a,
    to: b,
    ...line,
    style: { colour: { health: 'good' }, dash: [] },
    label: '',
  };
  const scene = { nodes: [a, b], edges: [edge], byId: new Map(), bounds: {} } as unknown as Scene;
  expect(nodeAt(scene, { x: 10, y: 5 }, 2)?.node.id).toBe('a');
  expect(nodeAt(scene, { x: 150, y: 0 }, 2)).toBeNull();
  expect(edgeAt(scene, { x: 150, y: 3 }, 4)?.edge.id).toBe('e');
  expect(edgeAt(scene, { x: 150, y: 30 }, 4)).toBeNull();
});

it('zooms about the pointer and fits what there is', () => {
  const camera = { scale: 1, x: 10, y: 20 };
  const point = toDrawing(camera, { x: 100, y: 100 });
  expect(toScreen(zoomed(camera, { x: 100, y: 100 }, 2), point)).toEqual({ x: 100, y: 100 });
  const fit = fitted({ left: -1000, top: -50, right: 1000, bottom: 50 }, 800, 600);
  expect(toScreen(fit, { x: -1000, y: 0 }).x).toBeGreaterThanOrEqual(40);
  expect(toScreen(fit, { x: 1000, y: 0 }).x).toBeLessThanOrEqual(760);
});

/** Viénot, Brettel, Mollon 1999: linear RGB as a person without red (protan) or green (deutan) receptors sees it. */
const DICHROMATS: Record<string, number[][]> = {
  protan: [
    [0.11238, 0.88762, 0],
    [0.11238, 0.88762, 0],
    [0.00401, -0.00401, 1],
  ],
  deutan: [
    [0.29275, 0.70725, 0],
    [0.29275, 0.70725, 0],
    [-0.02234, 0.02234, 1],
  ],
};

function linear(colour: string): number[] {
  const [r, g, b] = colour
    .match(/^#(..)(..)(..)/)!
    .slice(1)
    .map((part) => parseInt(part, 16) / 255) as [number, number, number];
  return [r, g, b].map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
}

/** CIE 1976 L*a*b*, D65. */
function lab(rgb: number[]): number[] {
  const [r, g, b] = rgb.map((value) => Math.max(0, value)) as [number, number, number];
  const xyz = [
    (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
    0.2126 * r + 0.7152 * g + 0.0722 * b,
    (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
  ].map((value) => (value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116)) as [number, number, number];
  return [116 * xyz[1] - 16, 500 * (xyz[0] - xyz[1]), 200 * (xyz[1] - xyz[2])];
}

describe.each(['dark', 'light'] as const)('colours of the %s theme', (mode) => {
  const { health } = paletteOf(createTheme({ colors: { mode } }));
  it.each(Object.keys(DICHROMATS))('stay apart for people who are %s', (kind) => {
    const seen = [health.good, health.warning, health.bad].map((colour) => {
      const rgb = linear(colour);
      return lab(DICHROMATS[kind]!.map((line) => line.reduce((sum, factor, i) => sum + factor * rgb[i]!, 0)));
    });
    seen.forEach((a, i) =>
      seen.slice(i + 1).forEach((b) => {
        // A difference of 10 is seen at a glance; 2.3 is just noticeable.
        expect(Math.hypot(a[0]! - b[0]!, a[1]! - b[1]!, a[2]! - b[2]!)).toBeGreaterThan(15);
      })
    );
  });

  it('are not all there is to tell health by', () => {
    const dashes = [DASHES.good, DASHES.warning, DASHES.bad].map((dash) => dash.join());
    expect(new Set(dashes).size).toBe(3);
  });
});
