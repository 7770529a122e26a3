// SPDX-License-Identifier: Apache-2.0
// The curves between cards: out at the right side, in at the left side, fanned out so that they do not share a line.

import { CARD, linkKey } from "./layout.js";

const FAN = 30; // height of a card's side over which its edges spread
const HEAD = 9; // length of an arrow head

/** For each edge the vertical offset at both of its ends: sorted by where the other end lies. */
function anchors(edges, at) {
  const offsets = new Map(edges.map((edge) => [edge.id, { out: 0, into: 0 }]));
  for (const [side, mine, other] of [["out", "source", "destination"], ["into", "destination", "source"]]) {
    const byNode = groupBy(edges, mine);
    for (const list of byNode.values()) {
      list.sort((a, b) => at.get(a[other]).y - at.get(b[other]).y || (a.id < b.id ? -1 : 1));
      const step = Math.min(9, FAN / Math.max(1, list.length - 1));
      list.forEach((edge, i) => (offsets.get(edge.id)[side] = (i - (list.length - 1) / 2) * step));
    }
  }
  return offsets;
}

function groupBy(list, key) {
  const groups = new Map();
  for (const item of list) groups.set(item[key], [...(groups.get(item[key]) ?? []), item]);
  return groups;
}

function cubic(a, b, c, d, t) {
  const u = 1 - t;
  return u * u * u * a + 3 * u * u * t * b + 3 * u * t * t * c + t * t * t * d;
}

/** Bends from one point to another with level ends. */
function bend(x1, y1, x2, y2) {
  const reach = Math.max(30, (x2 - x1) * 0.5);
  return { from: [x1, y1], c1: [x1 + reach, y1], c2: [x2 - reach, y2], to: [x2, y2] };
}

/** Swings out to the right, over or under, and comes in from the left: for links that point backwards. */
function swing(x1, y1, x2, y2) {
  const aside = (y1 <= y2 ? 1 : -1) * (Math.abs(y2 - y1) < CARD.height ? CARD.height * 1.6 : 0);
  const reach = 90 + Math.min(160, (x1 - x2) * 0.25);
  return { from: [x1, y1], c1: [x1 + reach, y1 + aside], c2: [x2 - reach, y2 + aside], to: [x2, y2] };
}

function on({ from, c1, c2, to }, t) {
  return { x: cubic(from[0], c1[0], c2[0], to[0], t), y: cubic(from[1], c1[1], c2[1], to[1], t) };
}

/**
 * Curve, arrow head and places for the label (best first) of every edge.
 * @param placed what `layout` returned
 * @returns Map id -> {line, head, labels: {x, y}[]}
 */
export function routes(edges, placed) {
  const { at, via } = placed;
  const offsets = anchors(edges, at);
  const outgoing = groupBy(edges, "source");
  const incoming = groupBy(edges, "destination");
  const beside = new Map(); // links of several protocols run side by side
  const found = new Map();
  for (const edge of edges) {
    if (edge.source === edge.destination) {
      found.set(edge.id, loop(at.get(edge.source)));
      continue;
    }
    const { out, into } = offsets.get(edge.id);
    const [from, to] = [at.get(edge.source), at.get(edge.destination)];
    const half = CARD.height / 2;
    const [x1, y1, x2, y2] = [from.x + CARD.width, from.y + half + out, to.x - HEAD, to.y + half + into];
    const key = linkKey(edge.source, edge.destination);
    const nth = beside.get(key) ?? 0;
    beside.set(key, nth + 1);
    const stretches = (via.get(key) ?? []).map(({ x, y }) => [x, y + nth * 8, x + CARD.width]);
    const curves = [];
    let [x, y] = [x1, y1];
    for (const [left, level, right] of stretches) {
      curves.push(bend(x, y, left, level));
      [x, y] = [right, level];
    }
    curves.push(x2 > x ? bend(x, y, x2, y2) : swing(x, y, x2, y2));
    // A label sits where edges are apart: away from the end at which more of them meet.
    const crowded = outgoing.get(edge.source).length - incoming.get(edge.destination).length;
    const first = crowded > 0 ? [0.62, 0.74, 0.5, 0.38] : crowded < 0 ? [0.38, 0.26, 0.5, 0.62] : [0.5, 0.38, 0.62, 0.26];
    const middles = stretches.map(([left, level, right]) => ({ x: (left + right) / 2, y: level }));
    const ends = crowded > 0 ? [...curves].reverse() : curves;
    found.set(edge.id, {
      line: `M${x1} ${y1}` + curves.map((c, i) => `${i ? `L${c.from}` : ""}C${c.c1} ${c.c2} ${c.to}`).join(""),
      head: `M${x2 + HEAD} ${y2}l${-HEAD - 2} -5.5l2.5 5.5l-2.5 5.5z`,
      labels: [...middles, ...first.map((t) => on(ends[0], t))],
    });
  }
  return found;
}

function loop(from) {
  const x = from.x + CARD.width / 2;
  const y = from.y;
  return {
    line: `M${x + 30} ${y}C${x + 30} ${y - 19} ${x - 30} ${y - 19} ${x - 30} ${y - HEAD}`,
    head: `M${x - 30} ${y}l-5.5 ${-HEAD - 2}l5.5 2.5l5.5 -2.5z`,
    labels: [{ x, y: y - 14 }], // on its own card: shows under the pointer
  };
}
