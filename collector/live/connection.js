// SPDX-License-Identifier: Apache-2.0
// Talking to the agent: JSON, the stream of requests, the token if one is asked for.

const TOKEN_KEY = "firesteel.token";
const RETRY_MS = 2000;
const LONGEST_WAIT_MS = 8000;

let askForToken = () => Promise.reject(new Error("a token is required"));
let asking = null;

/** `ask` shows a dialog and resolves with a token. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

function headers(extra = {}) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token ? { ...extra, Authorization: `Bearer ${token}` } : extra;
}

async function request(path, options = {}) {
  for (;;) {
    const answer = await fetch(path, { ...options, headers: headers(options.headers), credentials: "omit" });
    if (answer.status !== 401) return answer;
    asking ??= askForToken().finally(() => (asking = null));
    sessionStorage.setItem(TOKEN_KEY, await asking);
  }
}

/** The JSON at `path`. Throws an Error whose message tells what to do. */
export async function getJson(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const answer = await request(query ? `${path}?${query}` : path, { signal: AbortSignal.timeout(LONGEST_WAIT_MS) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.error.what}: ${body.error.remedy}`);
  return body;
}

/** Splits server-sent events (WHATWG) out of pieces of text. */
export class EventSplitter {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
  }

  push(text) {
    const blocks = (this.rest + text).split("\n\n");
    this.rest = blocks.pop();
    for (const block of blocks) {
      const event = { event: "message", data: "", id: null };
      for (const line of block.split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
      }
      if (event.data) this.onEvent(event);
    }
  }
}

/**
 * Follows /api/v1/stream for ever, over fetch because EventSource cannot carry a token.
 * `on.requests(list)`, `on.dropped(count)`, `on.state(open, message)`.
 */
export async function followRequests(on) {
  let last = null;
  for (;;) {
    let refused = "";
    try {
      const answer = await request("/api/v1/stream?backlog=200", { headers: last ? { "Last-Event-ID": last } : {} });
      if (answer.ok) {
        on.state(true, "");
        const splitter = new EventSplitter(({ event, data, id }) => {
          if (id) last = id;
          if (event === "requests") on.requests(JSON.parse(data));
          if (event === "dropped") on.dropped(JSON.parse(data).dropped);
        });
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          splitter.push(value);
        }
      } else {
        refused = (await answer.json()).error.what;
      }
    } catch {
      refused = "";
    }
    on.state(false, refused);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Calls `load` now and then every `ms`, never twice at once, and not while nobody looks. Returns a function to call it at once. */
export function poll(load, ms) {
  let timer = null;
  let running = false;
  let again = false;
  async function turn() {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      await load();
    } while (again);
    running = false;
    timer = setTimeout(turn, ms);
  }
  const regular = load;
  load = async () => {
    if (!document.hidden) await regular();
  };
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
  return turn;
}
