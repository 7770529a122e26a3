// SPDX-License-Identifier: Apache-2.0
/** Nodes and edges in words: for the tooltip, for screen readers, for the details. */
import { errorShare, meanSeconds, type Graph, type Totals } from './model';
import { bytesText, rateText, secondsText, shareText } from './text';

export interface Summary {
  title: string;
  lines: string[];
}

export function totalsLines(totals: Totals): Array<[string, string]> {
  const share = errorShare(totals);
  const mean = meanSeconds(totals);
  const lines: Array<[string, string]> = [['requests', rateText(totals.requests)]];
  if (share !== null) {
    lines.push(['errors', shareText(share)]);
  }
  if (totals.slow > 0 && totals.requests > 0) {
    lines.push(['slow', shareText(totals.slow / totals.requests)]);
  }
  if (mean !== null) {
    lines.push(['mean latency', secondsText(mean)]);
  }
  if (totals.request_bytes > 0 || totals.response_bytes > 0) {
    lines.push(['sent', bytesText(totals.request_bytes)], ['received', bytesText(totals.response_bytes)]);
  }
  if (totals.connect_failures > 0) {
    lines.push(['failed connects', rateText(totals.connect_failures)]);
  }
  if (totals.retransmits > 0) {
    lines.push(['retransmits', rateText(totals.retransmits)]);
  }
  if (totals.rtt !== null) {
    lines.push(['round trip', secondsText(totals.rtt / 1e6)]);
  }
  return lines;
}

const joined = (lines: Array<[string, string]>): string[] => lines.map(([name, value]) => `${name} ${value}`);

export function nodeSummary(graph: Graph, id: string): Summary | null {
  const node = graph.nodes.get(id);
  if (!node) {
    return null;
  }
  const lines = [`${node.kind}${node.namespace && node.kind !== 'namespace' ? ` in ${node.namespace}` : ''}`];
  if (node.answered.requests > 0 || node.answered.connect_failures > 0) {
    lines.push(...joined(totalsLines(node.answered)).map((line) => `answers ${line}`));
  }
  if (node.asked.requests > 0 || node.asked.connect_failures > 0) {
    lines.push(...joined(totalsLines(node.asked).slice(0, 3)).map((line) => `asks ${line}`));
  }
  if (node.change !== 'same') {
    lines.push(`${node.change} since the earlier window`);
  }
  return { title: node.title, lines };
}

export function edgeSummary(graph: Graph, id: string): Summary | null {
  const edge = graph.edges.find((candidate) => candidate.id === id);
  if (!edge) {
    return null;
  }
  const from = graph.nodes.get(edge.source)?.title ?? edge.source;
  const to = graph.nodes.get(edge.target)?.title ?? edge.target;
  const lines = [edge.protocol, ...joined(totalsLines(edge.now))].filter(Boolean);
  if (edge.change !== 'same') {
    lines.push(`${edge.change} since the earlier window`);
  }
  return { title: `${from} → ${to}`, lines };
}
