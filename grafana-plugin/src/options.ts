// SPDX-License-Identifier: Apache-2.0
import type { View } from './graph/model';
import type { LabelMode } from './draw/scene';
import type { LayoutKind, Point } from './layout/model';

export interface Options {
  view: View;
  layout: LayoutKind;
  edges: 'protocol' | 'pair';
  labels: LabelMode;
  /** Percent of failed requests. */
  errorsWarning: number;
  errorsBad: number;
  /** Milliseconds. */
  latencyWarning: number;
  latencyBad: number;
  /** Requests per second. */
  hideBelow: number;
  maxNodes: number;
  changeFactor: number;
  legend: boolean;
  toolbar: boolean;
  /** Places that were chosen by hand, by the node's id; saved with the dashboard. */
  pins: Record<string, Point>;
}

export const DEFAULTS: Options = {
  view: 'workloads',
  layout: 'force',
  edges: 'protocol',
  labels: 'latency',
  errorsWarning: 1,
  errorsBad: 5,
  latencyWarning: 500,
  latencyBad: 2000,
  hideBelow: 0,
  maxNodes: 1200,
  changeFactor: 2,
  legend: true,
  toolbar: true,
  pins: {},
};
