// SPDX-License-Identifier: Apache-2.0
// The panel at the right: an edge, a node, a request, or the agent itself.

import { el, svg } from "./dom.js";
import { age, bytes, clock, colour, count, duration, hostPort, quantile, rate, share } from "./format.js";
import { measure } from "./measures.js";
import { outcome, phaseBar, phaseKey } from "./requests.js";
import { badge } from "./table.js";

const ROWS_SHOWN = 40;

/** A header with a title, a line below it, and the button that closes the panel. */
export function head(title, sub, close) {
  return el("header", {},
    el("div", {}, el("h2", {}, ...title), el("div", { class: "sub" }, ...sub.map((part) => (typeof part === "string" ? el("span", {}, part) : part)))),
    el("button", { class: "close", type: "button", "aria-label": "Close details", title: "Close (Esc)", on: { click: close } }, "×"));
}

export function stats(items) {
  return el("dl", { class: "stats" }, ...items.map(([name, value, bad]) =>
    el("div", { class: bad ? "failed" : null }, el("dt", {}, name), el("dd", {}, value))));
}

export function facts(items) {
  const shown = items.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return el("dl", { class: "facts" }, ...shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** Rate (area) and failures (dashed) over the last polls. */
function sparkline(points, shade) {
  if (points.length < 2) return null;
  const most = Math.max(...points.map(([value, failed]) => Math.max(value, failed)), 1e-9);
  const at = (value, index) => `${((index / (points.length - 1)) * 100).toFixed(2)} ${(38 - (value / most) * 34).toFixed(2)}`;
  const line = points.map(([value], index) => at(value, index)).join("L");
  const failed = points.some(([, value]) => value > 0) ? points.map(([, value], index) => at(value, index)).join("L") : "";
  return svg("svg", { class: "spark", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": `Rate so far, at most ${rate(most)}`, style: { "--colour": shade } },
    svg("path", { class: "area", d: `M0 40L${line}L100 40z` }),
    svg("path", { class: "rate", d: `M${line}` }),
    failed ? svg("path", { class: "fails", d: `M${failed}` }) : null);
}

function latency(durations) {
  return stats([["mean", duration(durations.mean)], ["p50", quantile(durations, "p50")], ["p90", quantile(durations, "p90")], ["p99", quantile(durations, "p99")]]);
}

function rowCard(row) {
  const { total, last } = row;
  const window = row.window;
  return el("li", {},
    el("div", { class: "top" }, badge(row.protocol, row.l4), el("span", { class: "what" }, row.request_content || "-"), outcome(row)),
    el("div", { class: "tuple" }, `${hostPort(row.source)} → ${hostPort(row.destination)}`),
    el("div", { class: "numbers" },
      el("span", {}, `${count(total.requests)} requests`),
      window ? el("span", {}, rate(window.requests_per_second)) : null,
      el("span", {}, `p99 ${quantile(total.duration_seconds, "p99")}`),
      el("span", {}, `↑ ${bytes(total.request_bytes)}  ↓ ${bytes(total.response_bytes)}`),
      el("span", {}, last.idle_seconds < 2 ? "now" : `${age(last.idle_seconds)} ago`)),
    phaseBar(last.phases_seconds));
}

function tcpCard(row) {
  const failures = Object.entries(row.connect_failures);
  const numbers = [
    row.connects ? `${count(row.connects)} connected in ${duration(row.connect_seconds_mean)}` : "",
    ...failures.map(([name, times]) => `✕ ${name} ${count(times)} times${row.error_text ? ` (${row.error_text})` : ""}`),
    row.srtt_seconds ? `RTT ${duration(row.srtt_seconds)}` : "",
    row.retransmits + row.synack_retransmits ? `${count(row.retransmits + row.synack_retransmits)} retransmits` : "",
    row.resets_sent ? `${count(row.resets_sent)} resets sent` : "",
    row.resets_received ? `${count(row.resets_received)} resets received` : "",
    row.drops ? `${count(row.drops)} packets dropped` : "",
  ].filter(Boolean);
  return el("li", {},
    el("div", { class: "tuple" }, `${hostPort(row.source)} → ${hostPort(row.destination)}`),
    el("div", { class: failures.length ? "numbers failed" : "numbers" }, ...(numbers.length ? numbers : ["no trouble"]).map((text) => el("span", {}, text))));
}

function rowsSection(rows) {
  if (!rows) return [el("h3", {}, "Four-tuples"), el("p", { class: "muted" }, "Asking the agent…")];
  const parts = [];
  if (rows.rows.length) {
    parts.push(el("h3", {}, `Requests by address and content (${count(rows.rows.length + rows.left_off)})`),
      el("ul", { class: "cards" }, ...rows.rows.slice(0, ROWS_SHOWN).map(rowCard)), phaseKey());
  }
  if (rows.tcp.length) {
    parts.push(el("h3", {}, "TCP connections"), el("ul", { class: "cards" }, ...rows.tcp.slice(0, ROWS_SHOWN).map(tcpCard)));
  }
  return parts;
}

function recentSection(requests, onSelect) {
  if (!requests.length) return [];
  return [el("h3", {}, "Newest sampled requests"), el("div", { class: "cards" }, ...requests.map((request) =>
    el("button", { class: "card-button", type: "button", on: { click: () => onSelect({ kind: "request", request }) } },
      el("div", { class: "top" }, el("span", { class: "muted" }, clock(request.start)), el("span", { class: "what" }, request.request_content || "-"), outcome(request)),
      phaseBar(request.phases_seconds))))];
}

export function edgeDetails(edge, view) {
  const shown = measure(edge, view.topology, view.span);
  const ports = edge.ports.filter(Boolean);
  return [
    head([edge.sourceNode.title, el("span", { class: "arrow" }, "→"), edge.destinationNode.title],
      [badge(edge.protocol, edge.l4), ports.length ? `port ${ports.join(", ")}` : "", edge.certain_direction ? "" : "direction not certain", edge.both_ends ? "both ends are on this node" : ""].filter(Boolean),
      view.close),
    stats([
      ["rate", rate(shown.perSecond)],
      ["failed", share(shown.failedShare), shown.failedShare > 0],
      ["requests", count(edge.total.requests)],
      ["slow", count(edge.total.slow)],
      ["sent", shown.requestBytes === null ? bytes(edge.total.request_bytes) : `${bytes(shown.requestBytes)}/s`],
      ["received", shown.responseBytes === null ? bytes(edge.total.response_bytes) : `${bytes(shown.responseBytes)}/s`],
    ]),
    sparkline(view.history.of([edge.id]), colour(edge.protocol)),
    el("h3", {}, "Latency"),
    latency(shown.durations),
    ...rowsSection(view.rows),
    ...recentSection(view.recent, view.select),
  ];
}

export function nodeDetails(node, view) {
  const answered = view.edges.filter((edge) => edge.destination === node.id);
  const asked = view.edges.filter((edge) => edge.source === node.id);
  const where = node.subtitle && node.subtitle !== node.title ? node.subtitle : "";
  const list = (title, edges, other) => (edges.length ? [el("h3", {}, title), el("div", { class: "cards" }, ...edges.map((edge) => {
    const shown = measure(edge, view.topology, view.span);
    return el("button", { class: "card-button", type: "button", on: { click: () => view.select({ kind: "edge", id: edge.id }) } },
      el("div", { class: "top" }, badge(edge.protocol, edge.l4), el("span", { class: "what" }, edge[other].title),
        shown.failedShare ? el("span", { class: "failed" }, `✕ ${share(shown.failedShare)}`) : null),
      el("div", { class: "numbers" }, el("span", {}, rate(shown.perSecond)), el("span", {}, `${count(edge.total.requests)} requests`), el("span", {}, `p99 ${quantile(shown.durations, "p99")}`)));
  }))] : []);
  return [
    head([node.title], [node.kind, where].filter(Boolean), view.close),
    stats([
      ["answered", rate(node.answered.requests_per_second)],
      ["asked", rate(node.asked.requests_per_second)],
      ["failed", count(node.answered.errors), node.answered.errors > 0],
    ]),
    sparkline(view.history.of((answered.length ? answered : asked).map((edge) => edge.id)), "var(--p-http)"),
    el("h3", {}, "Names"),
    facts([["namespace", node.namespace], ["process", node.process], ["domain", node.domain], ["node", node.node], ["addresses", node.addresses.join(", ")]]),
    ...list("Is asked by", answered, "sourceNode"),
    ...list("Asks", asked, "destinationNode"),
    ...recentSection(view.recent, view.select),
  ];
}

function endFacts(end) {
  return facts([["address", hostPort(end)], ["process", end.pid ? `${end.process} (${end.pid})` : end.process], ["workload", [end.workload_kind, end.workload_name].filter(Boolean).join(" ")], ["namespace", end.namespace], ["service", end.service], ["pod", end.pod],
    ["container", end.container], ["container id", end.container_id], ["domain", end.domain], ["not known", end.reason]]);
}

export function requestDetails(request, view) {
  const phases = request.phases_seconds;
  return [
    head([request.request_content || "request"], [badge(request.protocol, request.l4), outcome(request), clock(request.start)], view.close),
    stats([["took", duration(request.duration_seconds), request.slow], ["sent", bytes(request.request_bytes)], ["received", bytes(request.response_bytes)]]),
    el("h3", {}, "Phases"),
    phaseBar(phases),
    facts([["connect", phases.connect ? duration(phases.connect) : "already open"], ["request transfer", duration(phases.request)], ["processing", duration(phases.processing)], ["response transfer", duration(phases.response)]]),
    phaseKey(),
    el("h3", {}, "From"), endFacts(request.source),
    el("h3", {}, "To"), endFacts(request.destination),
    el("h3", {}, "Sample"),
    facts([["why", request.why.replace("_", " ")], ["seen from", `the ${request.seen_from}'s end`], ["connection", request.connection], ["trace", request.trace_id], ["request text", request.request_text], ["response text", request.response_text]]),
  ];
}
