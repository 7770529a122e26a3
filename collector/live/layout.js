// SPDX-License-Identifier: Apache-2.0
// Where each node of the map stands: layers from those who ask (left) to those who answer (right), after Sugiyama,
// Tagawa and Toda (1981). Pure and deterministic; nodes that were placed before keep their order, so a refresh or a
// newcomer does not shuffle the map.

export const CARD = { width: 186, height: 46 };
const GAP = { x: 168, y: 22, column: 26 };
const UNSPLIT = 9; // cards that are never split into several columns
const PASSAGE = 30; // height that a link takes on its way over a layer
const SWEEPS = 12;

/** Links between different nodes, each once: "source destination" pairs as arrays. */
function uniqueLinks(edges) {
  const seen = new Map();
  for (const { source, destination } of edges) {
    if (source !== destination) seen.set(JSON.stringify([source, destination]), [source, destination]);
  }
  return [...seen.values()].sort((a, b) => (a[0] === b[0] ? compare(a[1], b[1]) : compare(a[0], b[0])));
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** An order in which few links point backwards (Eades, Lin and Smyth 1993): sinks last, sources first. */
function feedbackOrder(ids, links) {
  const out = new Map(ids.map((id) => [id, new Set()]));
  const into = new Map(ids.map((id) => [id, new Set()]));
  for (const [source, destination] of links) {
    out.get(source).add(destination);
    into.get(destination).add(source);
  }
  const left = new Set(ids);
  const first = [];
  const last = [];
  function take(id, list) {
    list.push(id);
    left.delete(id);
    for (const next of out.get(id)) into.get(next).delete(id);
    for (const previous of into.get(id)) out.get(previous).delete(id);
  }
  while (left.size) {
    const sink = [...left].find((id) => out.get(id).size === 0);
    if (sink !== undefined) {
      take(sink, last);
      continue;
    }
    let best = null;
    for (const id of left) {
      const excess = out.get(id).size - into.get(id).size + (into.get(id).size === 0 ? 1e6 : 0);
      if (best === null || excess > best.excess) best = { id, excess };
    }
    take(best.id, first);
  }
  return [...first, ...last.reverse()];
}

/** The layer of each node: as far right as the longest chain of askers, askers close to what they ask. */
function assignLayers(ids, links) {
  const place = new Map(feedbackOrder(ids, links).map((id, index) => [id, index]));
  const forward = links.map(([a, b]) => (place.get(a) < place.get(b) ? [a, b] : [b, a]));
  const byPlace = [...ids].sort((a, b) => place.get(a) - place.get(b));
  const targets = new Map(ids.map((id) => [id, []]));
  const sources = new Map(ids.map((id) => [id, 0]));
  for (const [a, b] of forward) {
    targets.get(a).push(b);
    sources.set(b, sources.get(b) + 1);
  }
  const layer = new Map(ids.map((id) => [id, 0]));
  for (const id of byPlace) {
    for (const next of targets.get(id)) layer.set(next, Math.max(layer.get(next), layer.get(id) + 1));
  }
  for (const id of byPlace.reverse()) {
    if (sources.get(id) === 0 && targets.get(id).length) {
      layer.set(id, Math.min(...targets.get(id).map((next) => layer.get(next))) - 1);
    }
  }
  return layer;
}

function neighbours(ids, links) {
  const around = new Map(ids.map((id) => [id, []]));
  for (const [a, b] of links) {
    around.get(a).push(b);
    around.get(b).push(a);
  }
  return around;
}

function mean(values) {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

/** Orders each layer by the mean position of its neighbours, to and fro. `known` (id -> rank) keeps old nodes in order. */
function orderLayers(layers, around, known) {
  const rank = new Map();
  const note = () => layers.forEach((ids) => ids.forEach((id, i) => rank.set(id, (i + 0.5) / ids.length)));
  layers.forEach((ids) => ids.sort((a, b) => (known.get(a) ?? Infinity) - (known.get(b) ?? Infinity) || compare(a, b)));
  note();
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const direction = sweep % 2 ? [...layers].reverse() : layers;
    for (const ids of direction) {
      const wish = new Map(ids.map((id) => [id, around.get(id).length ? mean(around.get(id).map((n) => rank.get(n))) : rank.get(id)]));
      const old = ids.filter((id) => known.has(id)).sort((a, b) => known.get(a) - known.get(b));
      const fresh = ids.filter((id) => !known.has(id)).sort((a, b) => wish.get(a) - wish.get(b) || compare(a, b));
      ids.length = 0;
      // Newcomers go in where they wish to be, between old ones that stay as they were.
      while (old.length || fresh.length) {
        const takeFresh = fresh.length && (!old.length || wish.get(fresh[0]) < wish.get(old[0]));
        ids.push(takeFresh ? fresh.shift() : old.shift());
      }
      ids.forEach((id, i) => rank.set(id, (i + 0.5) / ids.length));
    }
  }
}

/**
 * Centres as close as possible to `wishes`, in the given order, with at least half of both `sizes` between neighbours:
 * neighbours that would overlap are pooled and share their mean.
 */
export function spread(wishes, sizes) {
  const offsets = [];
  sizes.forEach((size, index) => offsets.push(index ? offsets[index - 1] + (sizes[index - 1] + size) / 2 : 0));
  const blocks = [];
  wishes.forEach((wish, index) => {
    let block = { sum: wish - offsets[index], size: 1 };
    while (blocks.length && blocks.at(-1).sum / blocks.at(-1).size > block.sum / block.size) {
      const before = blocks.pop();
      block = { sum: before.sum + block.sum, size: before.size + block.size };
    }
    blocks.push(block);
  });
  const centres = [];
  for (const { sum, size } of blocks) {
    for (let i = 0; i < size; i += 1) centres.push(sum / size + offsets[centres.length]);
  }
  return centres;
}

/** How many rows a column may have so that the whole has about the shape of the window. */
function rowsPerColumn(sizes, aspect) {
  const most = Math.max(1, ...sizes);
  let best = { rows: most, misfit: Infinity };
  for (let rows = Math.min(most, UNSPLIT); rows <= most; rows += 1) {
    const columns = sizes.reduce((total, size) => total + Math.ceil(size / rows), 0);
    const width = columns * (CARD.width + GAP.column) + (sizes.length - 1) * (GAP.x - GAP.column);
    const tallest = Math.max(...sizes.map((size) => Math.ceil(size / Math.ceil(size / rows))));
    const misfit = Math.abs(Math.log(width / (tallest * (CARD.height + GAP.y)) / aspect));
    if (misfit < best.misfit - 1e-9) best = { rows, misfit };
  }
  return best.rows;
}

export function linkKey(source, destination) {
  return JSON.stringify([source, destination]);
}

/** Places on the way of links that pass over layers, so that other cards make room for them: adds them to `layers`. */
function addPassages(layers, layerOf, links) {
  const chains = new Map();
  const segments = [];
  for (const [source, destination] of links) {
    const [from, to] = [layerOf.get(source), layerOf.get(destination)];
    const chain = [];
    for (let n = from + 1; n < to; n += 1) {
      const id = `${linkKey(source, destination)} ${n}`;
      layers[n].push(id);
      chain.push(id);
    }
    if (chain.length) chains.set(linkKey(source, destination), chain);
    const stops = [source, ...chain, destination];
    for (let i = 1; i < stops.length; i += 1) segments.push([stops[i - 1], stops[i]]);
  }
  return { chains, segments };
}

/**
 * @param ids node ids
 * @param edges [{source, destination}]
 * @param aspect width / height of the window
 * @param before an earlier result, or null
 * @returns {{at: Map<string, {x, y, layer}>, via: Map<string, {x, y}[]>, width: number, height: number}} top left
 *   corners of the cards; by linkKey the passages between cards, as the left ends of level stretches of a card's width
 */
export function layout(ids, edges, aspect, before = null) {
  if (!ids.length) return { at: new Map(), via: new Map(), width: CARD.width, height: CARD.height };
  const sorted = [...ids].sort(compare);
  const links = uniqueLinks(edges);
  const layerOf = assignLayers(sorted, links);
  const used = [...new Set(layerOf.values())].sort((a, b) => a - b);
  const layers = used.map(() => []);
  for (const id of sorted) {
    layerOf.set(id, used.indexOf(layerOf.get(id)));
    layers[layerOf.get(id)].push(id);
  }
  const sizes = layers.map((layer) => layer.length);
  const rows = rowsPerColumn(sizes, aspect);
  const columnsOf = sizes.map((size) => Math.ceil(size / rows));
  const roomy = columnsOf.every((columns) => columns === 1);
  const { chains, segments } = roomy ? addPassages(layers, layerOf, links) : { chains: new Map(), segments: links };
  const around = neighbours(layers.flat(), segments);
  const known = new Map();
  for (const id of sorted) {
    const old = before?.at.get(id);
    if (old) known.set(id, old.y);
  }
  orderLayers(layers, around, known);
  const centres = centreLayers(layers, layerOf, around, columnsOf);
  return arrange(layers, layerOf, columnsOf, centres, chains);
}

/** Vertical centres: each card as near as it can be to the middle of its neighbours. */
function centreLayers(layers, layerOf, around, columnsOf) {
  const sizeOf = (id, n) => (layerOf.has(id) ? CARD.height + GAP.y : PASSAGE) / columnsOf[n];
  const y = new Map();
  layers.forEach((layer, n) => layer.forEach((id, i) => y.set(id, (i - layer.length / 2) * sizeOf(id, n))));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const order = sweep % 2 ? [...layers.keys()].reverse() : [...layers.keys()];
    for (const n of order) {
      const wishes = layers[n].map((id) => (around.get(id).length ? mean(around.get(id).map((other) => y.get(other))) : y.get(id)));
      spread(wishes, layers[n].map((id) => sizeOf(id, n))).forEach((centre, i) => y.set(layers[n][i], centre));
    }
  }
  return y;
}

function arrange(layers, layerOf, columnsOf, centres, chains) {
  const at = new Map();
  const passages = new Map();
  const half = (id) => (layerOf.has(id) ? CARD.height : PASSAGE) / 2;
  const top = Math.min(...layers.flat().map((id) => centres.get(id) - half(id)));
  const bottom = Math.max(...layers.flat().map((id) => centres.get(id) + half(id)));
  let x = 0;
  layers.forEach((layer, n) => {
    layer.forEach((id, i) => {
      const y = centres.get(id) - top;
      if (layerOf.has(id)) at.set(id, { x: x + (i % columnsOf[n]) * (CARD.width + GAP.column), y: y - CARD.height / 2, layer: n });
      else passages.set(id, { x, y });
    });
    x += columnsOf[n] * (CARD.width + GAP.column) - GAP.column + GAP.x;
  });
  const via = new Map([...chains].map(([key, chain]) => [key, chain.map((id) => passages.get(id))]));
  return { at, via, width: x - GAP.x, height: bottom - top };
}
