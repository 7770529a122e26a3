// SPDX-License-Identifier: Apache-2.0
// The same edges as the map's, as a table that sorts.

import { el, pressable, rovingRows } from "./dom.js";
import { bytes, colour, count, duration, protocolName, quantile, rate, share } from "./format.js";
import { measure } from "./measures.js";

const COLUMNS = [
  { name: "Source", value: (e) => e.sourceNode.title, text: (e) => [e.sourceNode.title] },
  { name: "Destination", value: (e) => e.destinationNode.title, text: (e) => [`${e.destinationNode.title}${ports(e)}`] },
  { name: "Protocol", value: (e) => e.protocol, text: (e) => [badge(e.protocol, e.l4)] },
  { name: "Rate", number: true, value: (e, m) => m.perSecond ?? 0, text: (e, m) => [rate(m.perSecond)] },
  { name: "Failed", number: true, value: (e, m) => m.failedShare, text: (e, m) => [failed(m.failedShare)] },
  { name: "p50", number: true, value: (e, m) => m.durations.p50 ?? 0, text: (e, m) => [quantile(m.durations, "p50")] },
  { name: "p99", number: true, value: (e, m) => m.durations.p99 ?? 0, text: (e, m) => [quantile(m.durations, "p99")] },
  { name: "Sent", number: true, value: (e, m) => m.requestBytes ?? 0, text: (e, m) => [flow(m.requestBytes)] },
  { name: "Received", number: true, value: (e, m) => m.responseBytes ?? 0, text: (e, m) => [flow(m.responseBytes)] },
  { name: "RTT", number: true, value: (e) => e.tcp.srtt_seconds ?? 0, text: (e) => [duration(e.tcp.srtt_seconds)] },
  { name: "Resent", number: true, value: (e, m) => m.retransmits, text: (e, m) => [m.retransmits ? count(m.retransmits) : "-"] },
  { name: "Requests", number: true, value: (e) => e.total.requests, text: (e) => [count(e.total.requests)] },
];
const RATE = 3;

export function badge(protocol, l4) {
  return el("span", { class: "badge", style: { "--colour": colour(protocol) } }, protocolName(protocol, l4));
}

function ports(edge) {
  const known = edge.ports.filter(Boolean);
  if (!known.length || edge.destinationNode.kind === "server") return "";
  return known.length > 3 ? ` :${known[0]} and ${known.length - 1} more` : ` ${known.map((port) => `:${port}`).join(" ")}`;
}

function failed(value) {
  return value ? el("span", { class: "failed" }, `✕ ${share(value)}`) : el("span", { class: "none" }, "-");
}

function flow(perSecond) {
  return perSecond === null ? "-" : `${bytes(perSecond)}/s`;
}

export class EdgeTable {
  constructor(container, onSelect) {
    this.onSelect = onSelect;
    this.sort = { column: RATE, down: true };
    this.body = el("tbody");
    this.heads = COLUMNS.map((column, index) =>
      el("th", { scope: "col", class: column.number ? "number" : "" },
        el("button", { type: "button", on: { click: () => this.#sortBy(index) } }, column.name)));
    container.append(el("table", { class: "grid" },
      el("caption", { class: "sr-only" }, "Edges; the column heads sort"),
      el("thead", {}, el("tr", {}, ...this.heads)), this.body));
    rovingRows(this.body);
  }

  update(graph, span, dimmed, selected) {
    this.last = [graph, span, dimmed, selected];
    const { column, down } = this.sort;
    const shown = graph.edges.filter((edge) => !dimmed(edge)).map((edge) => [edge, measure(edge, graph.topology, span)]);
    const valueOf = COLUMNS[column].value;
    shown.sort(([a, ma], [b, mb]) => {
      const [x, y] = [valueOf(a, ma), valueOf(b, mb)];
      const order = typeof x === "string" ? x.localeCompare(y) : x - y;
      return (down ? -order : order) || (a.id < b.id ? -1 : 1);
    });
    this.heads.forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const focused = document.activeElement?.dataset?.edge;
    this.body.replaceChildren(...shown.map(([edge, measured], index) => this.#row(edge, measured, selected, index === 0)));
    if (focused) [...this.body.rows].find((row) => row.dataset.edge === focused)?.focus();
  }

  #row(edge, measured, selected, first) {
    const cells = COLUMNS.map((column) =>
      el("td", { class: column.number ? "number" : "clip" }, ...column.text(edge, measured)));
    const open = pressable(() => this.onSelect({ kind: "edge", id: edge.id }));
    const chosen = selected?.kind === "edge" && selected.id === edge.id;
    return el("tr", { tabindex: first ? 0 : -1, "data-edge": edge.id, class: chosen ? "selected" : null, on: open }, ...cells);
  }

  #sortBy(column) {
    const down = this.sort.column === column ? !this.sort.down : Boolean(COLUMNS[column].number);
    this.sort = { column, down };
    if (this.last) this.update(...this.last);
  }
}
