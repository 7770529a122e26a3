// SPDX-License-Identifier: Apache-2.0
// The search language: words and `field:value`, all of which must match; a minus in front excludes.

const REQUEST_FIELDS = {
  proto: (r) => [r.protocol, r.l4],
  status: (r) => [String(r.status), r.response_content],
  src: (r) => endWords(r.source),
  dst: (r) => endWords(r.destination),
  port: (r) => [String(r.source.port), String(r.destination.port)],
  path: (r) => [r.request_content],
};
const EDGE_FIELDS = {
  proto: (e) => [e.protocol, ...e.l4],
  status: () => [], // an edge folds all statuses and paths: its requests tell (see page.js)
  path: () => [],
  src: (e) => nodeWords(e.sourceNode),
  dst: (e) => nodeWords(e.destinationNode),
  port: (e) => e.ports.map(String),
};
const REQUEST_IS = {
  error: (r) => r.error || r.no_response,
  slow: (r) => r.slow,
  outside: (r) => r.source.outside || r.destination.outside,
  unanswered: (r) => r.no_response,
};
const EDGE_IS = {
  error: (e) => e.total.errors > 0 || Object.keys(e.tcp.connect_failures).length > 0,
  slow: (e) => e.total.slow > 0,
  outside: (e) => e.sourceNode.outside || e.destinationNode.outside,
  unanswered: (e) => e.total.no_response > 0,
};
const EXACT = new Set(["proto", "status", "port"]);

function endWords(end) {
  return [end.title, end.ip, end.process, end.namespace, end.workload_name, end.service, end.pod, end.container, end.domain];
}

function nodeWords(node) {
  return [node.title, node.subtitle, node.kind, node.namespace, node.domain, node.process, ...node.addresses];
}

/** Terms of a query: { field, value, not }. A field that does not exist is part of a word ("10.0.0.1:80"). */
export function parse(query) {
  const terms = [];
  for (const [, minus, , quoted, plain] of query.matchAll(/(-?)("([^"]*)"|(\S+))/g)) {
    let value = (quoted ?? plain).toLowerCase();
    let not = minus === "-";
    if (!value) continue;
    const [field, ...rest] = value.split(":");
    const known = field === "is" || field in REQUEST_FIELDS;
    if (quoted === undefined && known && rest.length) {
      if (rest.join(":")) terms.push({ field, value: rest.join(":"), not });
    } else {
      terms.push({ field: "", value, not });
    }
  }
  return terms;
}

function matches(terms, item, fields, flags, everything) {
  return terms.every(({ field, value, not }) => {
    let hit;
    if (field === "is") {
      const flag = flags[value];
      hit = flag ? Boolean(flag(item)) : false;
    } else if (field) {
      const words = fields[field](item);
      const exact = EXACT.has(field);
      hit = words.some((word) => word && (exact ? word.toLowerCase() === value : word.toLowerCase().includes(value)));
    } else {
      hit = everything(item).some((word) => word && word.toLowerCase().includes(value));
    }
    return hit !== not;
  });
}

export function requestMatches(terms, request) {
  return matches(terms, request, REQUEST_FIELDS, REQUEST_IS, (r) => [
    ...endWords(r.source), ...endWords(r.destination), r.protocol, r.request_content, r.response_content,
    `${r.destination.ip}:${r.destination.port}`, r.trace_id,
  ]);
}

/** `edge` carries its nodes as sourceNode and destinationNode. */
export function edgeMatches(terms, edge) {
  return matches(terms, edge, EDGE_FIELDS, EDGE_IS, (e) => [
    ...nodeWords(e.sourceNode), ...nodeWords(e.destinationNode), e.protocol, ...e.ports.map((port) => `:${port}`),
  ]);
}
