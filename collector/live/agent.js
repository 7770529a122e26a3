// SPDX-License-Identifier: Apache-2.0
// The agent itself: its pill and badge in the bar, its banners, its panel.

import { byId, el, setText } from "./dom.js";
import { age, count } from "./format.js";
import { facts, head, stats } from "./details.js";

function lostText(loss) {
  return `⚠ ${count(loss.total)} lost`;
}

/** What is lost where, in words, for each stage that lost something. */
const STAGES = {
  ring: "events that did not fit between kernel and engine (a larger ring.size helps)",
  storage: "connections that the kernel had no memory to follow",
  connections: "connections beyond connections.max",
  parse: "pieces that no buffer was free for",
  pair: "requests and responses that could not be paired",
  recording: "events that could not be recorded",
};

export function showBar(status) {
  const { agent, driver, loss } = status;
  setText(byId("node"), agent.node);
  const pill = byId("driver");
  setText(pill, agent.mode === "replay" ? "replay" : driver.name);
  pill.title = `${driver.why || "How this node is watched"}. Kernel ${agent.kernel}, firesteel ${agent.version}`;
  document.body.toggleAttribute("data-blind", driver.name === "none" && agent.mode !== "replay");
  const lost = byId("lost");
  lost.hidden = loss.total === 0;
  setText(lost, lostText(loss));
  lost.title = Object.keys(STAGES).filter((stage) => loss[stage]).map((stage) => `${count(loss[stage])} ${STAGES[stage]}`).join("\n");
}

function banner(kind, title, text) {
  return el("div", { class: `banner ${kind}` }, el("b", {}, title), el("p", {}, text));
}

/** `gone`: seconds for which the agent has not answered, or null. */
export function showBanners(status, gone, streamRefused) {
  const banners = [];
  if (gone !== null) {
    banners.push(["error", "The agent does not answer", `since ${age(gone)}. What you see is the last that is known; this page goes on as soon as it is back. To start it: sudo firesteel run`]);
  } else if (status) {
    const { agent, driver, engine, configuration, problems } = status;
    if (agent.mode === "replay") {
      banners.push(["info", "A recording is replayed.", `These are not requests of now. For the real thing: sudo firesteel run${driver.why ? ` (${driver.why})` : ""}`]);
    } else if (driver.name === "none" && !problems.some((problem) => problem.severity === "error")) {
      const tried = driver.rejected.map((r) => `${r.name}: ${r.reason}${r.remedy ? `; ${r.remedy}` : ""}`).join(" · ");
      banners.push(["", "Nothing can be seen inside connections.", [driver.why, tried].filter(Boolean).join(" - ") || "No probe could be loaded; firesteel doctor says why."]);
    }
    if (engine.state === "failed") banners.push(["error", "The engine has failed.", engine.failure]);
    if (configuration.problem) banners.push(["", "The changed configuration is not in force.", configuration.problem]);
    for (const problem of problems) {
      banners.push([problem.severity === "error" ? "error" : "", `${problem.what}:`, [problem.cause, problem.remedy].filter(Boolean).join("; ")]);
    }
    if (streamRefused) banners.push(["", "No stream of requests.", `${streamRefused}; trying again.`]);
  }
  const key = JSON.stringify(banners);
  const place = byId("banners");
  if (place.dataset.shown === key) return;
  place.dataset.shown = key;
  place.replaceChildren(...banners.map(([kind, title, text]) => banner(kind, title, text)));
}

export function agentDetails(status, view) {
  const { agent, driver, engine, loss, configuration } = status;
  const hidden = Object.entries(status.not_visible);
  const lost = Object.entries(STAGES).filter(([stage]) => loss[stage]);
  return [
    head([`Firesteel on ${agent.node || "this host"}`], [`${agent.version}, up ${age(agent.uptime_seconds)}`], view.close),
    stats([["connections", count(engine.connections)], ["waiting", count(engine.waiting_requests)], ["lost", count(loss.total), loss.total > 0]]),
    el("h3", {}, "How this node is watched"),
    facts([["driver", driver.hook_set ? `${driver.name} by ${driver.hook_set}` : driver.name], ["because", driver.why], ["kernel", agent.kernel], ["engine", `${engine.state}${engine.starts > 1 ? `, started ${engine.starts} times` : ""}`],
      ["engine CPU", age(engine.cpu_seconds)], ["detail", agent.detail], ["configuration", configuration.source], ["waits for a restart", configuration.needs_restart.join(", ")]]),
    ...(driver.rejected.length ? [el("h3", {}, "Drivers and hooks that were not chosen"), facts(driver.rejected.map((r) => [r.name, `${r.reason}${r.remedy ? `; ${r.remedy}` : ""}`]))] : []),
    ...(driver.hooks.length ? [el("h3", {}, "Hooks"), el("ul", { class: "hooks" }, ...driver.hooks.map((hook) =>
      el("li", { class: hook.attached ? "on" : "off" }, el("span", { class: "mark", "aria-label": hook.attached ? "attached" : "absent" }, hook.attached ? "✓" : "-"),
        el("span", {}, el("span", { class: "mono" }, hook.name), hook.attached ? "" : ` ${hook.reason}${hook.remedy ? `; ${hook.remedy}` : ""}`))))] : []),
    ...(lost.length ? [el("h3", {}, "Lost"), facts(lost.map(([stage, words]) => [count(loss[stage]), words]))] : []),
    ...(hidden.length ? [el("h3", {}, "Moved without visible payload"), facts(hidden.map(([reason, times]) => [count(times), reason.toLowerCase().replaceAll("_", " ")]))] : []),
  ];
}
