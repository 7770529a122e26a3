// SPDX-License-Identifier: Apache-2.0
// Wires the page: what was chosen, what was answered, who draws it.

import { agentDetails, showBanners, showBar } from "./agent.js";
import { followRequests, getJson, onTokenNeeded, poll } from "./connection.js";
import { edgeDetails, nodeDetails, requestDetails } from "./details.js";
import { byId, el, setText, svg } from "./dom.js";
import { edgeMatches, parse } from "./filter.js";
import { count, rate } from "./format.js";
import { TrafficMap, legend } from "./map.js";
import { History, overall, spanOf } from "./measures.js";
import { RequestList } from "./requests.js";
import { EdgeTable } from "./table.js";

const POLL_MS = 2000;
const IDLE_SECONDS = 900; // edges that were silent for longer are folded away
const RECENT = 6;

const history = new History();
const chosen = { view: "map", level: "workload", span: "window", query: "", idle: false, selected: null };
const known = { topology: null, status: null, rows: null, rowsOf: "", answeredAt: 0, streamRefused: "" };
let terms = [];

const map = new TrafficMap(byId("map"), select);
const table = new EdgeTable(byId("table"), select);
const requests = new RequestList(byId("stream"), (request) => select({ kind: "request", request }));

/** The nodes and edges to draw: idle edges left out unless asked for, edges with their nodes at hand. */
function graph() {
  const { topology } = known;
  const nodes = new Map(topology.nodes.map((node) => [node.id, node]));
  const all = topology.edges.map((edge) => ({ ...edge, sourceNode: nodes.get(edge.source), destinationNode: nodes.get(edge.destination) }));
  const lively = all.filter((edge) => edge.idle_seconds === null || edge.idle_seconds < IDLE_SECONDS);
  const edges = chosen.idle ? all : lively;
  const used = new Set(edges.flatMap((edge) => [edge.source, edge.destination]));
  return { topology, edges, nodes: topology.nodes.filter((node) => used.has(node.id)), idle: all.length - lively.length };
}

function draw() {
  drawState();
  if (!known.topology) return;
  const shown = graph();
  const told = new Set(terms.length ? requests.matching().map((r) => edgeIdOf(r, chosen.level)) : []);
  const dimmed = (edge) => !edgeMatches(terms, edge) && !told.has(edge.id);
  (chosen.view === "map" ? map : table).update(shown, spanOf(shown.topology, chosen.span), dimmed, chosen.selected);
  byId("legend").replaceChildren(...(shown.edges.length ? legend(shown.edges) : []));
  const idle = byId("idle");
  idle.hidden = shown.idle === 0;
  setText(idle, chosen.idle ? "Hide idle edges" : `+ ${count(shown.idle)} idle`);
  drawTotals(shown);
  drawDetails(shown);
}

/** Which edge of a level a request belongs to: ids are put together as docs/api.md says. */
function edgeIdOf(request, level) {
  return [request.source.ids[level], request.destination.ids[level], request.protocol].join(" > ");
}

function drawTotals(shown) {
  const span = spanOf(shown.topology, chosen.span);
  const total = overall(shown.topology, span);
  const instead = span === chosen.span ? "" : " since start";
  const [asked, failed, tell] = instead || !total.known ? [total.requests, total.failures, count] : [total.perSecond, total.failedPerSecond, rate];
  const items = [
    [`requests${instead}`, tell(asked), ""],
    [`failing${instead}`, tell(failed), failed > 0 ? "bad" : ""],
    ["edges", count(shown.edges.length + shown.topology.left_off), "minor"],
  ];
  byId("totals").replaceChildren(...items.map(([name, value, kind]) => el("div", { class: kind || null }, el("dt", {}, name), el("dd", {}, value))));
}

function goneFor() {
  return known.failing ? (Date.now() - known.answeredAt) / 1000 : null;
}

function drawState() {
  const gone = goneFor();
  document.body.dataset.state = gone !== null ? "gone" : known.topology ? "live" : "loading";
  showBanners(known.status, known.answeredAt ? gone : known.failing ? 0 : null, known.streamRefused);
  const empty = byId("empty");
  const nothing = !known.topology || known.topology.edges.length === 0;
  const blind = document.body.hasAttribute("data-blind");
  const kind = known.topology ? (blind ? "blind" : "empty") : known.failing ? "gone" : "loading";
  empty.hidden = !nothing;
  if (nothing && empty.dataset.kind !== kind) {
    empty.dataset.kind = kind;
    empty.classList.toggle("loading", kind === "loading");
    empty.replaceChildren(...EMPTY[kind]());
  }
  byId("map").hidden = chosen.view !== "map";
  byId("table").hidden = chosen.view !== "table";
}

function drawing() {
  return svg("svg", { viewBox: "0 0 190 84", "aria-hidden": "true" },
    svg("rect", { x: 2, y: 26, width: 54, height: 32, rx: 8 }), svg("rect", { x: 134, y: 26, width: 54, height: 32, rx: 8 }),
    svg("path", { d: "M60 42h24M106 42h24", "stroke-dasharray": "4 5" }), svg("path", { class: "spark", d: "M98 22 84 44h9l-2 18 16-23h-10z" }));
}

const EMPTY = {
  loading: () => [drawing(), el("h2", {}, "Asking the agent…")],
  gone: () => [drawing(), el("h2", {}, "No agent answers here"), el("p", {}, "Start it with sudo firesteel run. This page goes on by itself.")],
  blind: () => [drawing(), el("h2", {}, "No probe is in place"),
    el("p", {}, "So requests are not seen. What was tried, and what helps, is above and behind the driver's name; firesteel doctor says more.")],
  empty: () => {
    // The agent leaves its own traffic out, so its own pages are no example.
    const line = "python3 -m http.server 8000 & sleep 1; curl localhost:8000";
    const copy = el("button", { class: "quiet", type: "button" }, "Copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(line);
      setText(copy, "Copied");
      setTimeout(() => setText(copy, "Copy"), 1500);
    });
    return [drawing(), el("h2", {}, "Nothing yet"),
      el("p", {}, "Whatever talks on this machine from now on is drawn here: no need to change or restart it. Try, in a terminal:"),
      el("div", { class: "try" }, el("code", {}, line), copy)];
  },
};

// --- details

function drawDetails(shown) {
  const panel = byId("details");
  const { selected } = chosen;
  const close = () => select(null);
  const view = { topology: known.topology, span: spanOf(known.topology, chosen.span), history, close, select, edges: shown.edges, rows: null, recent: [] };
  let content = null;
  if (selected?.kind === "edge") {
    const edge = shown.edges.find((candidate) => candidate.id === selected.id);
    const mine = (r) => edgeIdOf(r, chosen.level) === selected.id;
    view.rows = known.rowsOf === selected.id ? known.rows : null;
    view.recent = requests.recent(mine, RECENT);
    content = edge && edgeDetails(edge, view);
  } else if (selected?.kind === "node") {
    const node = shown.nodes.find((candidate) => candidate.id === selected.id);
    view.recent = requests.recent((r) => [r.source, r.destination].some((end) => end.ids[chosen.level] === selected.id), RECENT);
    content = node && nodeDetails(node, view);
  } else if (selected?.kind === "request") {
    content = requestDetails(selected.request, view);
  } else if (selected?.kind === "agent" && known.status) {
    content = agentDetails(known.status, view);
  }
  const was = panel.hidden;
  panel.hidden = !content;
  if (content && !holdsSelection(panel)) {
    const focus = panel.contains(document.activeElement) ? [...panel.querySelectorAll("button")].indexOf(document.activeElement) : -1;
    panel.replaceChildren(...content.filter(Boolean));
    if (focus >= 0) (panel.querySelectorAll("button")[focus] ?? panel).focus();
  }
  if (was !== panel.hidden) map.resized();
}

/** Text that is being marked must not be replaced under the reader's hand. */
function holdsSelection(panel) {
  const marked = document.getSelection();
  return Boolean(marked && !marked.isCollapsed && panel.contains(marked.anchorNode));
}

let returnTo = null;

function select(what) {
  const panel = byId("details");
  if (what && panel.hidden) returnTo = document.activeElement;
  chosen.selected = what;
  requests.select(what?.kind === "request" ? what.request.sequence : null);
  document.getSelection()?.removeAllRanges();
  if (what?.kind === "edge" && known.rowsOf !== what.id) {
    known.rows = null;
    loadRows();
  }
  draw();
  if (what) {
    panel.scrollTop = 0;
    panel.focus({ preventScroll: true });
  } else if (returnTo?.isConnected) {
    returnTo.focus({ preventScroll: true });
  }
}

async function loadRows() {
  const { selected, level } = chosen;
  if (selected?.kind !== "edge") return;
  try {
    const rows = await getJson("/api/v1/rows", { level, edge: selected.id });
    if (chosen.selected !== selected) return;
    known.rows = rows;
    known.rowsOf = selected.id;
    if (known.topology) drawDetails(graph());
  } catch {
    // The next turn asks again; if the agent is gone, the banner says so.
  }
}

// --- what comes in

const refresh = poll(async () => {
  const { level } = chosen;
  try {
    const [topology, status] = await Promise.all([getJson("/api/v1/topology", { level }), getJson("/api/v1/status")]);
    if (level !== chosen.level) return;
    known.topology = topology;
    known.status = status;
    known.answeredAt = Date.now();
    known.failing = false;
    history.add(topology);
    showBar(status);
    loadRows();
  } catch {
    known.failing = true;
    known.answeredAt ||= 0;
  }
  draw();
}, POLL_MS);

followRequests({
  requests: (batch) => requests.add(batch),
  dropped: (dropped) => requests.lost(dropped),
  state: (open, refused) => {
    known.streamRefused = refused;
    if (open || refused) drawState();
  },
});

onTokenNeeded(() => new Promise((resolve) => {
  const dialog = byId("token");
  byId("token-text").value = "";
  dialog.showModal();
  dialog.addEventListener("close", () => resolve(byId("token-text").value), { once: true });
}));

// --- what is chosen

function remember() {
  const parts = { view: chosen.view, level: chosen.level, span: chosen.span, q: chosen.query };
  const given = Object.entries(parts).filter(([name, value]) => value && value !== { view: "map", level: "workload", span: "window" }[name]);
  window.history.replaceState(null, "", given.length ? `#${new URLSearchParams(given)}` : location.pathname);
}

function take(name, value) {
  chosen[name] = value;
  remember();
  draw();
}

function search(query) {
  terms = parse(query);
  requests.filter(terms);
  take("query", query);
}

function showView(view) {
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  take("view", view);
}

function chooseLevel(level) {
  if (chosen.selected?.kind === "edge" || chosen.selected?.kind === "node") chosen.selected = null;
  known.topology = null;
  take("level", level);
  refresh();
}

function restore() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, id] of [["level", "level"], ["span", "span"]]) {
    const value = given.get(name);
    if (value && [...byId(id).options].some((option) => option.value === value)) {
      byId(id).value = value;
      chosen[name] = value;
    }
  }
  if (given.get("view") === "table") showView("table");
  if (given.get("q")) {
    byId("search").value = given.get("q");
    search(given.get("q"));
  }
}

for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => showView(button.dataset.view));
byId("level").addEventListener("change", (event) => chooseLevel(event.target.value));
byId("span").addEventListener("change", (event) => take("span", event.target.value));
byId("search").addEventListener("input", (event) => search(event.target.value));
byId("idle").addEventListener("click", () => take("idle", !chosen.idle));
byId("driver").addEventListener("click", () => select({ kind: "agent" }));
byId("lost").addEventListener("click", () => select({ kind: "agent" }));
new ResizeObserver(() => map.resized()).observe(byId("map"));

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "Escape" && !byId("token").open) {
    if (event.target === byId("search") && chosen.query) {
      byId("search").value = "";
      search("");
    } else {
      select(null);
    }
  }
});

restore();
refresh();
