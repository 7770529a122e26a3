// SPDX-License-Identifier: Apache-2.0
export type LayoutKind = 'force' | 'layered';

export interface Point {
  x: number;
  y: number;
}

export interface LayoutNode {
  id: string;
  /** Nodes of one group are kept together. */
  group: string;
  radius: number;
  /** A place that must not change: a pin, or where the node was before. */
  fixed: Point | null;
  /** Where to begin looking for a place: beside what it was folded into, or among its neighbours. */
  near: Point | null;
}

export interface LayoutLink {
  source: string;
  target: string;
}

export interface LayoutRequest {
  kind: LayoutKind;
  nodes: LayoutNode[];
  links: LayoutLink[];
}

export type Positions = Map<string, Point>;

/** What a worker answers. The last piece of a layout is `done`; earlier ones let the first picture come soon. */
export interface LayoutReply {
  serial: number;
  /** x and y of each node, in the order of the request. */
  places: Float64Array;
  done: boolean;
}

export interface LayoutQuestion {
  serial: number;
  request: LayoutRequest;
}

/** Distance between neighbours in a row or column, in units of the drawing. */
export const GAP = 96;
export const LAYER_GAP = 220;
