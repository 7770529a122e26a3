// SPDX-License-Identifier: Apache-2.0
import type { LayoutLink } from './model';

/**
 * A layer for each node, callers left of whom they call: the longest path from a node that nobody calls, after links that
 * close a cycle are left out (those that lead back into the path of a depth-first walk). Without recursion, as a chain may
 * be as long as there are nodes.
 */
export function layersOf(ids: readonly string[], links: readonly LayoutLink[]): Map<string, number> {
  const after = new Map<string, string[]>(ids.map((id) => [id, []]));
  const callers = new Map<string, number>(ids.map((id) => [id, 0]));
  for (const { source, target } of links) {
    if (source !== target && after.has(source) && after.has(target)) {
      after.get(source)!.push(target);
      callers.set(target, callers.get(target)! + 1);
    }
  }
  const state = new Map<string, 'open' | 'closed'>();
  const forward = new Map<string, string[]>(ids.map((id) => [id, []]));
  const finished: string[] = [];
  // Nodes that nobody calls first; in what is left (cycles only) those with the fewest callers.
  const roots = [...ids].sort((a, b) => callers.get(a)! - callers.get(b)! || (a < b ? -1 : 1));
  for (const root of roots) {
    if (state.has(root)) {
      continue;
    }
    const path: Array<{ id: string; next: number }> = [{ id: root, next: 0 }];
    state.set(root, 'open');
    while (path.length > 0) {
      const top = path[path.length - 1]!;
      const target = after.get(top.id)![top.next++];
      if (target === undefined) {
        state.set(top.id, 'closed');
        finished.push(top.id);
        path.pop();
        continue;
      }
      const seen = state.get(target);
      if (seen === 'open') {
        continue;
      }
      forward.get(top.id)!.push(target);
      if (!seen) {
        state.set(target, 'open');
        path.push({ id: target, next: 0 });
      }
    }
  }
  const layers = new Map<string, number>(ids.map((id) => [id, 0]));
  for (const id of finished.reverse()) {
    for (const target of forward.get(id)!) {
      layers.set(target, Math.max(layers.get(target)!, layers.get(id)! + 1));
    }
  }
  return layers;
}
