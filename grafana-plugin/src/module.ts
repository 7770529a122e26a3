// SPDX-License-Identifier: Apache-2.0
import './publicPath';
import { FieldConfigProperty, PanelPlugin } from '@grafana/data';
import { TopologyPanel } from './components/TopologyPanel';
import { DEFAULTS, type Options } from './options';

const DRAWING = ['Drawing'];
const HEALTH = ['Health'];
const LIMITS = ['Limits'];

export const plugin = new PanelPlugin<Options>(TopologyPanel)
  .setNoPadding()
  .useFieldConfig({
    // Only data links mean something here: colours and units are the panel's own.
    disableStandardOptions: Object.values(FieldConfigProperty).filter((name) => name !== FieldConfigProperty.Links),
  })
  .setPanelOptions((builder) =>
    builder
      .addSelect({
        path: 'view',
        name: 'View',
        description: 'What one node stands for when the dashboard opens',
        category: DRAWING,
        defaultValue: DEFAULTS.view,
        settings: {
          options: [
            { value: 'namespaces', label: 'Namespaces' },
            { value: 'workloads', label: 'Workloads' },
            { value: 'pods', label: 'Pods' },
            { value: 'nodes', label: 'Nodes' },
            { value: 'services', label: 'Services' },
          ],
        },
      })
      .addRadio({
        path: 'layout',
        name: 'Layout',
        category: DRAWING,
        defaultValue: DEFAULTS.layout,
        settings: {
          options: [
            { value: 'force', label: 'Force' },
            { value: 'layered', label: 'Layered' },
          ],
        },
      })
      .addRadio({
        path: 'edges',
        name: 'One edge for each',
        category: DRAWING,
        defaultValue: DEFAULTS.edges,
        settings: {
          options: [
            { value: 'protocol', label: 'Protocol' },
            { value: 'pair', label: 'Pair of nodes' },
          ],
        },
      })
      .addRadio({
        path: 'labels',
        name: 'Edge labels',
        category: DRAWING,
        defaultValue: DEFAULTS.labels,
        settings: {
          options: [
            { value: 'latency', label: 'Latency' },
            { value: 'rate', label: 'Rate' },
            { value: 'both', label: 'Both' },
            { value: 'none', label: 'None' },
          ],
        },
      })
      .addBooleanSwitch({ path: 'legend', name: 'Legend', category: DRAWING, defaultValue: DEFAULTS.legend })
      .addBooleanSwitch({ path: 'toolbar', name: 'Toolbar', category: DRAWING, defaultValue: DEFAULTS.toolbar })
      .addNumberInput({
        path: 'errorsWarning',
        name: 'Errors: warning from (%)',
        category: HEALTH,
        defaultValue: DEFAULTS.errorsWarning,
        settings: { min: 0, max: 100 },
      })
      .addNumberInput({
        path: 'errorsBad',
        name: 'Errors: bad from (%)',
        category: HEALTH,
        defaultValue: DEFAULTS.errorsBad,
        settings: { min: 0, max: 100 },
      })
      .addNumberInput({
        path: 'latencyWarning',
        name: 'Mean latency: warning from (ms)',
        category: HEALTH,
        defaultValue: DEFAULTS.latencyWarning,
        settings: { min: 0 },
      })
      .addNumberInput({
        path: 'latencyBad',
        name: 'Mean latency: bad from (ms)',
        category: HEALTH,
        defaultValue: DEFAULTS.latencyBad,
        settings: { min: 0 },
      })
      .addNumberInput({
        path: 'changeFactor',
        name: 'Compare: changed from (times)',
        description: 'An edge whose rate or share of errors is this many times more, or less, than earlier has changed',
        category: HEALTH,
        defaultValue: DEFAULTS.changeFactor,
        settings: { min: 1.1, step: 0.1 },
      })
      .addNumberInput({
        path: 'hideBelow',
        name: 'Hide edges below (requests/s)',
        description: 'Edges with failures stay',
        category: LIMITS,
        defaultValue: DEFAULTS.hideBelow,
        settings: { min: 0 },
      })
      .addNumberInput({
        path: 'maxNodes',
        name: 'Nodes at most',
        description: 'Above this the largest groups are folded into what they belong to',
        category: LIMITS,
        defaultValue: DEFAULTS.maxNodes,
        settings: { min: 10, max: 5000, integer: true },
      })
  );
