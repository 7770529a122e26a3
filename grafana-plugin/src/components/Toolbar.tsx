// SPDX-License-Identifier: Apache-2.0
import React from 'react';
import { css } from '@emotion/css';
import type { GrafanaTheme2, SelectableValue } from '@grafana/data';
import { Button, IconButton, Input, MultiSelect, RadioButtonGroup, Select, useStyles2 } from '@grafana/ui';
import type { Coverage } from '../frames/read';
import type { Direction } from '../graph/select';
import type { Graph, GraphNode, View } from '../graph/model';
import type { LayoutKind } from '../layout/model';
import { CoverageBadge } from './CoverageBadge';
import type { ViewState } from './viewState';

interface Props {
  state: ViewState;
  change: (change: Partial<ViewState>) => void;
  graph: Graph;
  found: GraphNode[];
  protocols: string[];
  namespaces: string[];
  canCompare: boolean;
  coverage: Coverage;
  searchInput: React.RefObject<HTMLInputElement>;
  goTo: (id: string) => void;
  save: () => void;
}

const VIEW_OPTIONS: Array<SelectableValue<View>> = [
  { value: 'namespaces', label: 'Namespaces' },
  { value: 'workloads', label: 'Workloads' },
  { value: 'pods', label: 'Pods' },
  { value: 'nodes', label: 'Nodes' },
  { value: 'services', label: 'Services' },
];
const LAYOUT_OPTIONS: Array<SelectableValue<LayoutKind>> = [
  { value: 'force', label: 'Force' },
  { value: 'layered', label: 'Layered' },
];
const SHOW_OPTIONS: Array<SelectableValue<'map' | 'table'>> = [
  { value: 'map', label: 'Map', icon: 'sitemap' },
  { value: 'table', label: 'Table', icon: 'table' },
];
const DIRECTION_OPTIONS: Array<SelectableValue<Direction>> = [
  { value: 'both', label: 'both ways' },
  { value: 'upstream', label: 'upstream' },
  { value: 'downstream', label: 'downstream' },
];
const HOPS = [1, 2, 3, 4].map((value) => ({ value, label: `${value} hop${value > 1 ? 's' : ''}` }));

const NAMES: Record<string, string> = { NOT_FOUND_INTERNAL: 'hosts', NOT_FOUND_EXTERNAL: 'outside' };
const named = (names: string[]) => names.map((value) => ({ value, label: NAMES[value] ?? value }));

export const Toolbar: React.FC<Props> = (props) => {
  const { state, change, graph, found, coverage, searchInput } = props;
  const styles = useStyles2(getStyles);
  const focused = state.focus === null ? undefined : graph.nodes.get(state.focus);
  return (
    <div className={styles.bar} data-testid="topology-toolbar">
      <RadioButtonGroup
        size="sm"
        options={VIEW_OPTIONS}
        value={state.view}
        onChange={(view) => change({ view, focus: null, expanded: new Set(), collapsed: new Set() })}
      />
      <RadioButtonGroup
        size="sm"
        options={LAYOUT_OPTIONS}
        value={state.layout}
        onChange={(layout) => change({ layout })}
      />
      <RadioButtonGroup size="sm" options={SHOW_OPTIONS} value={state.show} onChange={(show) => change({ show })} />
      <div className={styles.search}>
        <Input
          ref={searchInput}
          placeholder="Search a name or address"
          aria-label="Search"
          value={state.search}
          onChange={(event) => change({ search: event.currentTarget.value })}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && found[0]) {
              props.goTo(found[0].id);
            } else if (event.key === 'Escape') {
              change({ search: '' });
            }
          }}
          suffix={
            state.search ? (
              <IconButton name="times" tooltip="Clear" onClick={() => change({ search: '' })} />
            ) : undefined
          }
        />
        {state.search && (
          <div className={styles.found} role="listbox" aria-label="Found" data-testid="topology-found">
            {found.length === 0 && <div className={styles.none}>nothing of this name</div>}
            {found.slice(0, 8).map((node) => (
              <button
                key={node.id}
                type="button"
                role="option"
                aria-selected={false}
                onClick={() => props.goTo(node.id)}
              >
                {node.title} <small>{node.subtitle}</small>
              </button>
            ))}
          </div>
        )}
      </div>
      <MultiSelect
        width="auto"
        className={styles.select}
        placeholder="All protocols"
        aria-label="Protocols"
        options={named(props.protocols)}
        value={state.protocols}
        onChange={(chosen) => change({ protocols: chosen.map(({ value }) => value!) })}
      />
      <MultiSelect
        width="auto"
        className={styles.select}
        placeholder="All namespaces"
        aria-label="Namespaces"
        options={named(props.namespaces)}
        value={state.namespaces}
        onChange={(chosen) => change({ namespaces: chosen.map(({ value }) => value!) })}
      />
      <Input
        width={13}
        type="number"
        min={0}
        step="any"
        prefix="≥"
        suffix="/s"
        aria-label="Hide edges below"
        title="Hide edges with fewer requests per second; those with failures stay"
        value={state.hideBelow || ''}
        placeholder="0"
        onChange={(event) => change({ hideBelow: Math.max(0, Number(event.currentTarget.value) || 0) })}
      />
      {props.canCompare && (
        <Toggle on={state.compare} set={(compare) => change({ compare, changedOnly: false })}>
          Compare
        </Toggle>
      )}
      {props.canCompare && state.compare && (
        <Toggle on={state.changedOnly} set={(changedOnly) => change({ changedOnly })}>
          Changes only
        </Toggle>
      )}
      {focused && (
        <span className={styles.focus} data-testid="topology-focus">
          around <strong>{focused.title}</strong>
          <Select
            width="auto"
            aria-label="Hops"
            options={HOPS}
            value={state.hops}
            onChange={({ value }) => change({ hops: value! })}
          />
          <Select
            width="auto"
            aria-label="Direction"
            options={DIRECTION_OPTIONS}
            value={state.direction}
            onChange={({ value }) => change({ direction: value! })}
          />
          <Button size="sm" variant="secondary" onClick={() => change({ focus: null })}>
            Show all
          </Button>
        </span>
      )}
      {(state.expanded.size > 0 || state.collapsed.size > 0) && (
        <Button
          size="sm"
          variant="secondary"
          fill="text"
          onClick={() => change({ expanded: new Set(), collapsed: new Set() })}
        >
          Reset folding
        </Button>
      )}
      <span className={styles.end}>
        <CoverageBadge coverage={coverage} unresolved={graph.unresolvedShare} />
        <IconButton name="save" tooltip="Save what is drawn as JSON" onClick={props.save} />
      </span>
    </div>
  );
};

const Toggle: React.FC<{ on: boolean; set: (on: boolean) => void; children: string }> = ({ on, set, children }) => (
  <Button size="sm" variant={on ? 'primary' : 'secondary'} aria-pressed={on} onClick={() => set(!on)}>
    {children}
  </Button>
);

const getStyles = (theme: GrafanaTheme2) => ({
  bar: css({
    display: 'flex',
    flexWrap: 'wrap',
    alignItems: 'center',
    gap: theme.spacing(0.5, 1),
    padding: theme.spacing(0.5, 1),
    borderBottom: `1px solid ${theme.colors.border.weak}`,
  }),
  search: css({ position: 'relative', width: 190 }),
  found: css({
    position: 'absolute',
    top: '100%',
    left: 0,
    zIndex: 3,
    minWidth: '100%',
    background: theme.colors.background.secondary,
    border: `1px solid ${theme.colors.border.medium}`,
    borderRadius: theme.shape.radius.default,
    boxShadow: theme.shadows.z3,
    button: {
      display: 'block',
      width: '100%',
      padding: theme.spacing(0.5, 1),
      textAlign: 'left',
      whiteSpace: 'nowrap',
      background: 'none',
      border: 'none',
      '&:hover, &:focus-visible': { background: theme.colors.action.hover },
    },
    small: { color: theme.colors.text.secondary },
  }),
  none: css({ padding: theme.spacing(0.5, 1), color: theme.colors.text.secondary }),
  select: css({ minWidth: 130 }),
  focus: css({ display: 'inline-flex', alignItems: 'center', gap: theme.spacing(0.5) }),
  end: css({ marginLeft: 'auto', display: 'inline-flex', alignItems: 'center', gap: theme.spacing(1) }),
});
