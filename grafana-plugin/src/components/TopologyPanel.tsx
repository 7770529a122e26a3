// SPDX-License-Identifier: Apache-2.0
import React, { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { css } from '@emotion/css';
import { LoadingState, type GrafanaTheme2, type PanelProps } from '@grafana/data';
import { Icon, LoadingBar, Tooltip, useStyles2 } from '@grafana/ui';
import { readFrames } from '../frames/read';
import { stateOf } from '../frames/state';
import { aggregate } from '../graph/aggregate';
import type { Graph } from '../graph/model';
import { namespacesOf, protocolsOf, search, select } from '../graph/select';
import type { Point } from '../layout/model';
import { DEFAULTS, type Options } from '../options';
import { Details } from './Details';
import { EdgeTable } from './EdgeTable';
import { Legend } from './Legend';
import { MapView, type Chosen, type MapActions } from './MapView';
import { drawnJson, saveDrawn } from './saveDrawn';
import { StateView } from './States';
import { Toolbar } from './Toolbar';
import { useLayout } from './useLayout';
import { usePins } from './usePins';
import { collapse, expand, initialState, type ViewState } from './viewState';

const NOBODY: Chosen = { node: null, edge: null };

export const TopologyPanel: React.FC<PanelProps<Options>> = ({
  id,
  data,
  options: given,
  onOptionsChange,
  width,
  height,
}) => {
  const styles = useStyles2(getStyles);
  const options = useMemo(() => ({ ...DEFAULTS, ...given }), [given]);
  const [state, setState] = useState<ViewState>(() => initialState(options));
  const [chosen, setChosen] = useState<Chosen>(NOBODY);
  const [lookAt, setLookAt] = useState<{ id: string | null; serial: number }>({ id: null, serial: 0 });
  const [barHeight, setBarHeight] = useState(0);
  const [bar, setBar] = useState<HTMLDivElement | null>(null);
  const searchInput = useRef<HTMLInputElement>(null);
  const change = useCallback((changes: Partial<ViewState>) => setState((was) => ({ ...was, ...changes })), []);

  // An option that somebody edits is meant at once, not when the dashboard opens next.
  const { view, layout: layoutOption, hideBelow: hideOption } = options;
  const [edited, setEdited] = useState({ view, layout: layoutOption, hideBelow: hideOption });
  if (edited.view !== view || edited.layout !== layoutOption || edited.hideBelow !== hideOption) {
    const now = { view, layout: layoutOption, hideBelow: hideOption };
    setEdited(now);
    change(now);
  }

  const reading = useMemo(() => readFrames(data.series), [data.series]);
  const panelState = stateOf(data, reading, state.view);
  const ready = panelState.kind === 'ready';
  const whole = useWhole(reading, state, options, ready);
  const { protocols, namespaces, hideBelow, changedOnly, focus, hops, direction } = state;
  const graph = useMemo(
    () => select(whole, { protocols, namespaces, hideBelow, changedOnly, focus, hops, direction }),
    [whole, protocols, namespaces, hideBelow, changedOnly, focus, hops, direction]
  );
  const found = useMemo(() => search(graph, state.search), [graph, state.search]);
  const foundIds = useMemo(() => new Set(found.map((node) => node.id)), [found]);
  const allProtocols = useMemo(() => protocolsOf(whole), [whole]);
  const allNamespaces = useMemo(() => namespacesOf(whole), [whole]);

  const save = useCallback(
    (pins: Record<string, Point>) => onOptionsChange({ ...options, pins }),
    [onOptionsChange, options]
  );
  const { pins, pin, unpin } = usePins(
    options.pins,
    save,
    `firesteel-topology/${data.request?.dashboardUID ?? ''}/${id}`
  );
  const layout = useLayout(graph, state.layout, pins);

  // The toolbar takes as many lines as the panel's width makes it take.
  useEffect(() => {
    if (!bar) {
      return undefined;
    }
    const observer = new ResizeObserver(() => setBarHeight(bar.offsetHeight));
    observer.observe(bar);
    return () => observer.disconnect();
  }, [bar]);

  const look = useCallback((target: string | null) => setLookAt((was) => ({ id: target, serial: was.serial + 1 })), []);
  const actions: MapActions = useMemo(
    () => ({
      choose: setChosen,
      expand: (target) => {
        const node = graph.nodes.get(target);
        if (node?.expandable) {
          setChosen(NOBODY);
          change(expand(state, node));
        }
      },
      collapse: (target) => {
        const node = graph.nodes.get(target);
        if (node?.parent) {
          setChosen({ node: node.parent.id, edge: null });
          change(collapse(state, node));
        }
      },
      focus: (target) => {
        change({ focus: target });
        look(null);
      },
      pin,
      unpin,
      search: () => searchInput.current?.focus(),
    }),
    [graph, state, change, pin, unpin, look]
  );
  const goTo = (target: string): void => {
    setChosen({ node: target, edge: null });
    change({ search: '', show: 'map' });
    look(target);
  };

  if (!ready && panelState.kind !== 'shape') {
    return (
      <div style={{ width, height }}>
        <StateView state={panelState} />
      </div>
    );
  }
  const bodyHeight = Math.max(60, height - (options.toolbar ? barHeight : 0));
  return (
    <div className={styles.panel} style={{ width, height }} data-testid="topology-panel">
      {data.state === LoadingState.Loading && (
        <div className={styles.loading}>
          <LoadingBar width={width} />
        </div>
      )}
      {options.toolbar && (
        <div ref={setBar}>
          <Toolbar
            state={state}
            change={change}
            graph={whole}
            found={found}
            protocols={allProtocols}
            namespaces={allNamespaces}
            canCompare={reading.hasBefore}
            coverage={reading.coverage}
            searchInput={searchInput}
            goTo={goTo}
            save={() => saveDrawn(drawnJson(state.view, graph, layout.positions))}
          />
        </div>
      )}
      {panelState.kind === 'shape' ? (
        <StateView state={panelState} />
      ) : (
        <div className={styles.body} style={{ height: bodyHeight }}>
          {state.show === 'table' ? (
            <EdgeTable
              graph={graph}
              compare={state.compare}
              chosen={chosen}
              choose={setChosen}
              width={width}
              height={bodyHeight}
            />
          ) : (
            <MapView
              graph={graph}
              layout={layout}
              labels={options.labels}
              compare={state.compare}
              pins={pins}
              chosen={chosen}
              found={foundIds}
              lookAt={lookAt}
              actions={actions}
              width={width}
              height={bodyHeight}
            />
          )}
          {graph.nodes.size === 0 && (
            <div className={styles.nothing} data-testid="topology-nothing">
              No edge passes the filters. Widen them, or lower the threshold.
            </div>
          )}
          <Notices warnings={panelState.kind === 'ready' ? panelState.warnings : []} folded={graph.folded} />
          {options.legend && state.show === 'map' && <Legend compare={state.compare} />}
          <Details
            graph={graph}
            chosen={chosen}
            actions={actions}
            pins={pins}
            positions={layout.positions}
            focus={state.focus}
          />
        </div>
      )}
    </div>
  );
};

/** The graph before filters. It is made anew only when the data, the view or the folding changed. */
function useWhole(reading: ReturnType<typeof readFrames>, state: ViewState, options: Options, ready: boolean): Graph {
  const { view, expanded, collapsed } = state;
  const compare = state.compare && reading.hasBefore;
  const { edges, maxNodes, changeFactor, errorsWarning, errorsBad, latencyWarning, latencyBad } = options;
  return useMemo(
    () =>
      aggregate(ready ? reading.rows : [], {
        view,
        expanded,
        collapsed,
        edges,
        maxNodes,
        changeFactor,
        compare,
        thresholds: {
          errorsWarning: errorsWarning / 100,
          errorsBad: errorsBad / 100,
          latencyWarning,
          latencyBad,
        },
      }),
    [
      ready,
      reading,
      view,
      expanded,
      collapsed,
      compare,
      edges,
      maxNodes,
      changeFactor,
      errorsWarning,
      errorsBad,
      latencyWarning,
      latencyBad,
    ]
  );
}

const FOLDED_NAMED = 5;

const Notices: React.FC<{ warnings: string[]; folded: string[] }> = ({ warnings, folded }) => {
  const styles = useStyles2(getStyles);
  const told: Array<[string, string]> = [];
  if (warnings.length > 0) {
    told.push([
      `partial: ${warnings.length} ${warnings.length === 1 ? 'query' : 'queries'} failed`,
      warnings.join('; '),
    ]);
  }
  if (folded.length > 0) {
    const names = folded.slice(0, FOLDED_NAMED).join(', ');
    told.push([
      `${folded.length} folded`,
      `Too many nodes, so these are shown as one each: ${names}${folded.length > FOLDED_NAMED ? ', …' : ''}. Expand one to see into it, or raise “Nodes at most” in the panel's options.`,
    ]);
  }
  return told.length === 0 ? null : (
    <div className={styles.notices} data-testid="topology-notices">
      {told.map(([text, tooltip]) => (
        <Tooltip key={text} content={tooltip}>
          <span className={styles.notice} tabIndex={0} title={tooltip}>
            <Icon name="exclamation-triangle" size="sm" /> {text}
          </span>
        </Tooltip>
      ))}
    </div>
  );
};

const getStyles = (theme: GrafanaTheme2) => ({
  panel: css({ position: 'relative', display: 'flex', flexDirection: 'column' }),
  loading: css({ position: 'absolute', top: 0, left: 0, right: 0, zIndex: 4 }),
  body: css({ position: 'relative', flex: 'none', overflow: 'hidden' }),
  nothing: css({
    position: 'absolute',
    inset: 0,
    display: 'flex',
    alignItems: 'center',
    justifyContent: 'center',
    pointerEvents: 'none',
    color: theme.colors.text.secondary,
  }),
  notices: css({
    position: 'absolute',
    top: theme.spacing(1),
    left: theme.spacing(1),
    display: 'flex',
    gap: theme.spacing(1),
  }),
  notice: css({
    padding: theme.spacing(0.25, 1),
    background: theme.colors.warning.transparent,
    color: theme.colors.warning.text,
    borderRadius: theme.shape.radius.default,
    fontSize: theme.typography.bodySmall.fontSize,
  }),
});
