// SPDX-License-Identifier: Apache-2.0
/** What a person chose in the panel since it was opened. */
import type { Direction } from '../graph/select';
import type { GraphNode, View } from '../graph/model';
import type { LayoutKind } from '../layout/model';
import type { Options } from '../options';

export interface ViewState {
  view: View;
  layout: LayoutKind;
  show: 'map' | 'table';
  search: string;
  protocols: string[];
  namespaces: string[];
  hideBelow: number;
  compare: boolean;
  changedOnly: boolean;
  focus: string | null;
  hops: number;
  direction: Direction;
  expanded: ReadonlySet<string>;
  collapsed: ReadonlySet<string>;
}

export function initialState(options: Pick<Options, 'view' | 'layout' | 'hideBelow'>): ViewState {
  return {
    view: options.view,
    layout: options.layout,
    show: 'map',
    search: '',
    protocols: [],
    namespaces: [],
    hideBelow: options.hideBelow,
    compare: false,
    changedOnly: false,
    focus: null,
    hops: 1,
    direction: 'both',
    expanded: new Set(),
    collapsed: new Set(),
  };
}

/** Shows the finer places of a node. */
export function expand(state: ViewState, node: GraphNode): Partial<ViewState> {
  if (!node.expandable) {
    return {};
  }
  const collapsed = new Set(state.collapsed);
  collapsed.delete(node.id);
  return { expanded: new Set(state.expanded).add(node.id), collapsed };
}

/** Hides a node, and its siblings, behind what they belong to. */
export function collapse(state: ViewState, node: GraphNode): Partial<ViewState> {
  if (!node.parent) {
    return {};
  }
  const expanded = new Set(state.expanded);
  expanded.delete(node.parent.id);
  return { expanded, collapsed: new Set(state.collapsed).add(node.parent.id) };
}
