// SPDX-License-Identifier: Apache-2.0
// The stream of sampled requests, newest first. Holds still while the reader scrolls or pauses.

import { el, byId, pressable, rovingRows, setText } from "./dom.js";
import { clock, count, duration, hostPort } from "./format.js";
import { requestMatches } from "./filter.js";
import { badge } from "./table.js";

const KEPT = 1000; // requests in memory
const SHOWN = 200; // rows in the page
const HEADS = [["time", "Time"], ["who", "From → to"], ["protocol", "Protocol"], ["what", "Request"], ["result", "Result"], ["took", "Took"], ["bar-cell", "Phases"]];
const PHASES = ["connect", "request", "processing", "response"];

/** A bar of the phases' shares; null if nothing was measured. */
export function phaseBar(phases) {
  const total = PHASES.reduce((sum, name) => sum + phases[name], 0);
  if (!total) return null;
  const said = PHASES.filter((name) => phases[name] > 0).map((name) => `${name} ${duration(phases[name])}`).join(", ");
  return el("div", { class: "phases", role: "img", "aria-label": said, title: said },
    ...PHASES.filter((name) => phases[name] > 0).map((name) => el("i", { class: name, style: { width: `${(100 * phases[name]) / total}%` } })));
}

export function phaseKey() {
  return el("div", { class: "key" }, ...PHASES.map((name) => el("span", {}, el("i", { class: name }), name)));
}

/** "404", "NXDOMAIN", "no answer": with a mark where it failed, so that colour is not the only sign. */
export function outcome(request) {
  const text = request.no_response ? "no answer" : request.response_content || (request.status ? String(request.status) : request.error ? "failed" : "ok");
  if (request.error || request.no_response) return el("span", { class: "failed" }, `✕ ${text}`);
  return text;
}

function took(request) {
  const text = request.no_response ? "-" : duration(request.duration_seconds);
  return request.slow ? el("span", { class: "slow", title: "slow" }, `◷ ${text}`) : text;
}

export class RequestList {
  constructor(container, onSelect) {
    this.container = container;
    this.onSelect = onSelect;
    this.requests = []; // newest first
    this.seen = 0;
    this.dropped = 0;
    this.terms = [];
    this.only = "";
    this.paused = false;
    this.held = 0;
    this.chosen = null;
    this.body = el("tbody");
    this.table = el("table", {}, el("caption", { class: "sr-only" }, "Requests, newest first"),
      el("thead", {}, el("tr", {}, ...HEADS.map(([name, title]) => el("th", { class: name, scope: "col" }, title)))), this.body);
    this.quiet = el("p", { class: "quiet-stream" });
    container.append(this.table, this.quiet);
    rovingRows(this.body);
    container.addEventListener("scroll", () => this.#stillHeld() || this.render());
    byId("pause").addEventListener("click", () => this.#pause(!this.paused));
    byId("clear").addEventListener("click", () => this.#clear());
    byId("fresh").addEventListener("click", () => {
      container.scrollTop = 0;
      this.#pause(false);
    });
    for (const button of document.querySelectorAll("[data-only]")) {
      button.addEventListener("click", () => this.#choose(button));
    }
    this.render();
  }

  add(batch) {
    this.seen += batch.length;
    this.requests.unshift(...batch.toReversed());
    this.requests.length = Math.min(this.requests.length, KEPT);
    if (this.#stillHeld()) {
      this.held += batch.filter((request) => this.#fits(request)).length;
      this.#head();
    } else {
      this.render(new Set(batch));
    }
  }

  lost(dropped) {
    this.dropped += dropped;
    this.#head();
  }

  filter(terms) {
    this.terms = terms;
    this.render();
  }

  select(sequence) {
    this.chosen = sequence;
    for (const row of this.body.rows) row.classList.toggle("selected", Number(row.dataset.sequence) === sequence);
  }

  /** All in memory that the search admits. */
  matching() {
    return this.requests.filter((request) => requestMatches(this.terms, request));
  }

  /** The newest that pass a test. */
  recent(test, most) {
    const found = [];
    for (const request of this.requests) {
      if (found.length >= most) break;
      if (test(request)) found.push(request);
    }
    return found;
  }

  render(arrived = new Set()) {
    this.held = 0;
    const shown = [];
    for (const request of this.requests) {
      if (shown.length >= SHOWN) break;
      if (this.#fits(request)) shown.push(request);
    }
    const old = new Map([...this.body.rows].map((row) => [Number(row.dataset.sequence), row]));
    const focused = document.activeElement?.closest?.("tr[data-sequence]");
    this.body.replaceChildren(...shown.map((request) => old.get(request.sequence) ?? this.#row(request, arrived.has(request))));
    [...this.body.rows].forEach((row, index) => (row.tabIndex = index === 0 ? 0 : -1));
    if (focused?.isConnected) {
      focused.tabIndex = 0;
      focused.focus();
    }
    this.table.hidden = shown.length === 0;
    this.quiet.hidden = shown.length > 0;
    setText(this.quiet, this.requests.length ? "No request of these matches." : "Requests appear here as they happen.");
    this.#head();
  }

  #fits(request) {
    if (this.only === "error" && !(request.error || request.no_response)) return false;
    if (this.only === "slow" && !request.slow) return false;
    return requestMatches(this.terms, request);
  }

  #stillHeld() {
    return this.paused || this.container.scrollTop > 4;
  }

  #head() {
    const dropped = this.dropped ? `, ${count(this.dropped)} not shown because this page was too slow` : "";
    setText(byId("seen"), this.seen ? `${count(this.seen)} sampled${dropped}` : "");
    const fresh = byId("fresh");
    fresh.hidden = this.held === 0;
    setText(fresh, `↑ ${count(this.held)} new`);
  }

  #row(request, arrived) {
    const { source, destination } = request;
    const hint = `${hostPort(source)} → ${hostPort(destination)}`;
    const row = el("tr", { tabindex: -1, "data-sequence": request.sequence, class: arrived ? "arrived" : null, on: pressable(() => this.onSelect(request)) },
      el("td", { class: "time" }, clock(request.start)),
      el("td", { class: "who", title: hint }, source.title, el("span", { class: "arrow" }, "→"), destination.title),
      el("td", { class: "protocol" }, badge(request.protocol, request.l4)),
      el("td", { class: "what", title: request.request_content }, request.request_content || "-"),
      el("td", { class: "result" }, outcome(request)),
      el("td", { class: "took" }, took(request)),
      el("td", { class: "bar-cell" }, phaseBar(request.phases_seconds)));
    row.classList.toggle("selected", request.sequence === this.chosen);
    return row;
  }

  #pause(paused) {
    this.paused = paused;
    byId("pause").setAttribute("aria-pressed", String(paused));
    setText(byId("pause"), paused ? "Paused" : "Pause");
    if (!paused) this.render();
  }

  #clear() {
    this.requests = [];
    this.seen = 0;
    this.dropped = 0;
    this.render();
  }

  #choose(button) {
    this.only = button.dataset.only;
    for (const other of document.querySelectorAll("[data-only]")) other.setAttribute("aria-pressed", String(other === button));
    this.container.scrollTop = 0;
    this.render();
  }
}
