// SPDX-License-Identifier: Apache-2.0
// The map: cards for nodes, curves for edges. Elements are kept between refreshes and only their attributes change.

import { el, pressable, setAttributes, setText, svg } from "./dom.js";
import { brief, colour, duration, protocolName, quantile, rate, share } from "./format.js";
import { CARD, layout } from "./layout.js";
import { measure } from "./measures.js";
import { routes } from "./paths.js";
import { Viewport } from "./viewport.js";

const GLYPHS = {
  outside: "M10 2.5a7.5 7.5 0 1 0 0 15a7.5 7.5 0 1 0 0-15M2.5 10h15M10 2.5c-5 4.6-5 10.4 0 15M10 2.5c5 4.6 5 10.4 0 15",
  process: "M4 3.5h12a1.5 1.5 0 0 1 1.5 1.5v10a1.5 1.5 0 0 1-1.5 1.5H4A1.5 1.5 0 0 1 2.5 15V5A1.5 1.5 0 0 1 4 3.5M6 8l2.5 2L6 12M10.5 12.5h3.5",
  address: "M10 17.5c4-4.6 6-7.4 6-10a6 6 0 0 0-12 0c0 2.6 2 5.4 6 10M10 5.6a2 2 0 1 0 0 4a2 2 0 1 0 0-4",
  group: "M3 5.5h5l1.6 2H17v8.5H3z",
  workload: "M10 2.2l6.8 3.9v7.8L10 17.8l-6.8-3.9V6.1zM3.4 6.2l6.6 3.9l6.6-3.9M10 10.1v7.5",
};
const GLYPH_OF = {
  outside: "outside", process: "process", client: "process", systemd: "process", address: "address", server: "address",
  namespace: "group", host: "group",
};
const LABELS_SHOWN = 60;
const CROWDED = 80; // edges from which on only chosen ones move and lines are thin

function wholeShare(value) {
  return value < 0.01 ? "<1%" : `${Math.round(value * 100)}%`;
}

function clipText(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

export class TrafficMap {
  /** `onSelect({kind: "node"|"edge", id})` when something is chosen. */
  constructor(container, onSelect) {
    this.onSelect = onSelect;
    this.nodes = new Map();
    this.edges = new Map();
    this.placed = null;
    this.shape = "";
    this.edgeLayer = svg("g");
    this.nodeLayer = svg("g");
    this.tagLayer = svg("g");
    this.scene = svg("g", {}, this.edgeLayer, this.nodeLayer, this.tagLayer);
    this.root = svg("svg", { role: "group", "aria-label": "Map of traffic; arrow keys move between nodes" }, this.scene);
    this.viewport = new Viewport(this.root, this.scene);
    container.append(this.root, this.viewport.buttons());
    this.root.addEventListener("keydown", (event) => this.#arrow(event));
  }

  /** `graph`: {nodes, edges, topology}; `dimmed(edge)` tells which edges the search leaves out. */
  update(graph, span, dimmed, selected) {
    this.ends = new Map(graph.edges.map((edge) => [edge.id, [edge.source, edge.destination]]));
    const shape = JSON.stringify([graph.nodes.map((n) => n.id), graph.edges.map((e) => e.id)]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.placed = layout(graph.nodes.map((n) => n.id), graph.edges, this.viewport.aspect(), this.placed);
      this.routes = routes(graph.edges, this.placed);
      this.viewport.content(this.placed.width, this.placed.height);
    }
    const measured = new Map(graph.edges.map((edge) => [edge.id, measure(edge, graph.topology, span)]));
    const bright = new Set();
    for (const edge of graph.edges) {
      if (!dimmed(edge)) bright.add(edge.source).add(edge.destination);
    }
    keep(this.nodes, graph.nodes, (node) => this.#newNode(node), this.nodeLayer);
    keep(this.edges, graph.edges, (edge) => this.#newEdge(edge), this.edgeLayer, this.tagLayer);
    for (const node of graph.nodes) this.#drawNode(node, graph, measured, !bright.has(node.id), selected);
    const crowded = graph.edges.length > CROWDED;
    this.root.classList.toggle("crowd", crowded);
    this.root.classList.toggle("focused", this.#hasSelected(graph, selected));
    for (const edge of graph.edges) this.#drawEdge(edge, measured.get(edge.id), dimmed(edge), selected, crowded ? 0.55 : 1);
    this.#placeLabels(graph.edges, measured);
    this.#oneTabStop(selected);
  }

  resized() {
    this.viewport.resized();
  }

  #newNode(node) {
    const group = svg("g", { class: "node", role: "button", tabindex: -1, on: pressable(() => this.onSelect({ kind: "node", id: node.id })) });
    const parts = {
      group,
      card: svg("rect", { class: "card", width: CARD.width, height: CARD.height, rx: 10 }),
      share: svg("rect", { class: "share", x: 12, y: CARD.height - 4.5, height: 2.5, rx: 1.25 }),
      failed: svg("rect", { class: "failed", y: CARD.height - 4.5, height: 2.5, rx: 1.25 }),
      glyph: svg("path", { class: "glyph", transform: "translate(10 10)", d: GLYPHS[GLYPH_OF[node.kind] ?? "workload"] }),
      title: svg("text", { x: 38, y: 20 }),
      sub: svg("text", { class: "sub", x: 38, y: 34 }),
      rate: svg("text", { class: "rate", x: CARD.width - 11, y: 34 }),
      hint: svg("title"),
    };
    group.append(parts.hint, parts.card, parts.glyph, parts.title, parts.sub, parts.rate, parts.share, parts.failed);
    group.addEventListener("mouseenter", () => this.#near(node.id, true));
    group.addEventListener("mouseleave", () => this.#near(node.id, false));
    return parts;
  }

  #drawNode(node, graph, measured, dim, selected) {
    const parts = this.nodes.get(node.id);
    const place = this.placed.at.get(node.id);
    const answers = graph.edges.filter((edge) => edge.destination === node.id);
    const shown = answers.length ? answers : graph.edges.filter((edge) => edge.source === node.id);
    let perSecond = 0;
    let failed = 0;
    let known = false;
    let moving = false;
    for (const edge of shown) {
      const { perSecond: each, failedPerSecond, moving: moves } = measured.get(edge.id);
      if (each === null) continue;
      known = true;
      moving ||= moves;
      perSecond += each;
      failed += failedPerSecond;
    }
    const failedShare = perSecond + failed > 0 ? Math.min(1, failed / Math.max(perSecond, failed)) : 0;
    setAttributes(parts.group, { transform: `translate(${place.x} ${place.y})` });
    parts.group.classList.toggle("dim", dim);
    parts.group.classList.toggle("idle", known && !moving && !dim);
    parts.group.classList.toggle("selected", selected?.kind === "node" && selected.id === node.id);
    const text = known && moving ? rate(perSecond) : "";
    setText(parts.title, clipText(node.title, 20));
    setText(parts.sub, clipText(node.subtitle || node.kind, text ? 16 : 24));
    setText(parts.rate, text);
    const width = CARD.width - 24;
    setAttributes(parts.share, { width: width * (1 - failedShare), class: moving ? "share" : "share idle" });
    setAttributes(parts.failed, { x: 12 + width * (1 - failedShare), width: width * failedShare });
    const said = [node.title, node.subtitle, node.kind, known ? `${rate(perSecond)}, ${share(failedShare)} failed` : ""];
    setText(parts.hint, said.filter(Boolean).join("\n"));
    setAttributes(parts.group, { "aria-label": said.filter(Boolean).join(", ") });
  }

  #newEdge(edge) {
    const group = svg("g", { class: "edge", role: "img", on: { click: () => this.onSelect({ kind: "edge", id: edge.id }) } });
    const parts = {
      group,
      hint: svg("title"),
      hit: svg("path", { class: "hit" }),
      line: svg("path", { class: "line" }),
      fails: svg("path", { class: "fails" }),
      flow: svg("path", { class: "flow" }),
      head: svg("path", { class: "head" }),
      tag: svg("g", { class: "tag" }),
      box: svg("rect", { height: 18, y: -9.5, rx: 9 }),
      text: svg("text", { y: 3.5 }),
    };
    parts.tag.append(parts.box, parts.text);
    group.style.setProperty("--colour", colour(edge.protocol));
    group.append(parts.hint, parts.hit, parts.line, parts.fails, parts.flow, parts.head);
    group.addEventListener("mouseenter", () => this.#lift(edge.id, true));
    group.addEventListener("mouseleave", () => this.#lift(edge.id, false));
    return parts;
  }

  #drawEdge(edge, shown, dim, selected, scale) {
    const parts = this.edges.get(edge.id);
    const route = this.routes.get(edge.id);
    const thick = scale * (1.6 + Math.min(6.5, Math.log10(1 + (shown.perSecond ?? 0)) * 1.7));
    const failing = shown.failedShare > 0;
    for (const part of [parts.hit, parts.line, parts.fails, parts.flow]) setAttributes(part, { d: route.line });
    setAttributes(parts.head, { d: route.head });
    setAttributes(parts.line, { "stroke-width": thick });
    // The line is painted in the error colour for as much of its length as requests fail.
    const on = Math.max(5, Math.min(16, 22 * shown.failedShare));
    setAttributes(parts.fails, { "stroke-width": failing ? Math.max(2.4 * scale, thick) : 0, "stroke-dasharray": `${on} ${22 - on}` });
    const speed = shown.perSecond >= 100 ? "rapid" : shown.perSecond >= 5 ? "brisk" : "calm";
    setAttributes(parts.flow, { class: `flow ${speed}`, "stroke-width": shown.moving ? Math.max(2, thick * 0.55) : 0 });
    for (const { classList } of [parts.group, parts.tag]) {
      classList.toggle("dim", dim);
      classList.toggle("idle", !shown.moving && !dim);
      classList.toggle("failing", failing);
      classList.toggle("selected", selected?.kind === "edge" && selected.id === edge.id);
      classList.toggle("mine", selected?.kind === "node" && (edge.source === selected.id || edge.destination === selected.id));
    }
    const text = !shown.moving ? "idle" : [
      shown.perSecond ? rate(shown.perSecond) : "",
      shown.failuresOnly ? "no connection" : shown.durations.mean === null ? "" : brief(shown.durations.mean),
    ].filter(Boolean).join(" · ");
    const mark = failing ? ` ✕ ${wholeShare(shown.failedShare)}` : "";
    const key = text + mark;
    if (parts.shown !== key) {
      parts.shown = key;
      parts.text.replaceChildren(text, ...(mark ? [svg("tspan", { class: "mark" }, mark)] : []));
      const width = key.length * 6.2 + 14;
      setAttributes(parts.box, { x: -width / 2, width });
      parts.width = width;
    }
    const said = `${edge.sourceNode.title} → ${edge.destinationNode.title}\n${protocolName(edge.protocol, edge.l4)} ` +
      `${rate(shown.perSecond)}, ${share(shown.failedShare)} failed, mean ${duration(shown.durations.mean)}, ` +
      `p99 ${quantile(shown.durations, "p99")}${edge.certain_direction ? "" : ", direction not certain"}`;
    setText(parts.hint, said);
    setAttributes(parts.group, { "aria-label": said });
  }

  /** A label that would lie on a card or on a more important label, wherever on its edge, shows only under the pointer. */
  #placeLabels(edges, measured) {
    const taken = [...this.placed.at.values()].map(({ x, y }) => [x, y, x + CARD.width, y + CARD.height]);
    const weight = (edge) => (measured.get(edge.id).failedShare > 0 ? 1e9 : 0) + (measured.get(edge.id).perSecond ?? 0);
    const ranked = [...edges].sort((a, b) => weight(b) - weight(a) || (a.id < b.id ? -1 : 1));
    ranked.forEach((edge, index) => {
      const { tag, width } = this.edges.get(edge.id);
      const { labels } = this.routes.get(edge.id);
      const boxAt = ({ x, y }) => [x - width / 2 - 2, y - 11, x + width / 2 + 2, y + 10];
      const meets = (box) => taken.some((t) => t[0] < box[2] && t[2] > box[0] && t[1] < box[3] && t[3] > box[1]);
      const free = index < LABELS_SHOWN ? labels.find((place) => !meets(boxAt(place))) : undefined;
      tag.classList.toggle("crowded", !free);
      const { x, y } = free ?? labels[0];
      setAttributes(tag, { transform: `translate(${x} ${y})` });
      if (free) taken.push(boxAt(free));
    });
  }

  #hasSelected(graph, selected) {
    if (selected?.kind === "edge") return graph.edges.some((edge) => edge.id === selected.id);
    return selected?.kind === "node" && graph.nodes.some((node) => node.id === selected.id);
  }

  #near(nodeId, on) {
    for (const [id, ends] of this.ends) {
      if (ends.includes(nodeId)) this.#lift(id, on);
    }
  }

  /** Brings an edge out while the pointer is on it or on one of its nodes. */
  #lift(edgeId, on) {
    const parts = this.edges.get(edgeId);
    parts?.group.classList.toggle("near", on);
    parts?.tag.classList.toggle("near", on);
  }

  #oneTabStop(selected) {
    const groups = [...this.nodes.values()].map((parts) => parts.group);
    if (groups.some((group) => group === document.activeElement)) return;
    const first = (selected && this.nodes.get(selected.id)?.group) ?? groups[0];
    for (const group of groups) setAttributes(group, { tabindex: group === first ? 0 : -1 });
  }

  /** Arrow keys go to the nearest card in that direction. */
  #arrow(event) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const current = [...this.nodes].find(([, parts]) => parts.group === event.target);
    if (!direction || !current) return;
    event.preventDefault();
    const here = this.placed.at.get(current[0]);
    let best = null;
    for (const [id, place] of this.placed.at) {
      const along = (place.x - here.x) * direction[0] + (place.y - here.y) * direction[1];
      const aside = Math.abs((place.x - here.x) * direction[1]) + Math.abs((place.y - here.y) * direction[0]);
      if (along <= 0.5) continue;
      const far = along + 2 * aside;
      if (!best || far < best.far) best = { id, far };
    }
    if (!best) return;
    setAttributes(event.target, { tabindex: -1 });
    const { group } = this.nodes.get(best.id);
    setAttributes(group, { tabindex: 0 });
    group.focus();
    this.viewport.reveal(this.placed.at.get(best.id), CARD);
  }
}

/** Makes `kept` hold exactly the items, creating and removing elements as needed. */
function keep(kept, items, make, layer, tagLayer = null) {
  const wanted = new Set(items.map((item) => item.id));
  for (const [id, parts] of kept) {
    if (!wanted.has(id)) {
      parts.group.remove();
      parts.tag?.remove();
      kept.delete(id);
    }
  }
  for (const item of items) {
    if (!kept.has(item.id)) {
      const parts = make(item);
      kept.set(item.id, parts);
      layer.append(parts.group);
      tagLayer?.append(parts.tag);
    }
  }
}

/** The key to the colours that are on the map now. */
export function legend(edges) {
  const seen = new Map();
  for (const edge of edges) seen.set(protocolName(edge.protocol, edge.l4), colour(edge.protocol));
  const items = [...seen].sort().map(([name, shade]) => el("li", {}, el("i", { style: { "--colour": shade } }), name));
  return [...items, el("li", {}, el("i", { class: "failed" }), "failing")];
}
