// SPDX-License-Identifier: Apache-2.0
/** All that is known of the chosen node or edge, what can be done with it, and where its data links lead. */
import React from 'react';
import { css } from '@emotion/css';
import type { GrafanaTheme2, LinkModel } from '@grafana/data';
import { Button, IconButton, useStyles2 } from '@grafana/ui';
import type { Graph, GraphEdge, GraphNode, Totals } from '../graph/model';
import { totalsLines } from '../graph/summary';
import { rateText } from '../graph/text';
import type { Chosen, MapActions } from './MapView';
import type { Point } from '../layout/model';

interface Props {
  graph: Graph;
  chosen: Chosen;
  actions: MapActions;
  pins: ReadonlyMap<string, Point>;
  positions: ReadonlyMap<string, Point>;
  focus: string | null;
}

const EDGES_SHOWN = 12;
const LINKS_SHOWN = 8;

export const Details: React.FC<Props> = ({ graph, chosen, actions, pins, positions, focus }) => {
  const styles = useStyles2(getStyles);
  const node = chosen.node === null ? undefined : graph.nodes.get(chosen.node);
  const edge = chosen.edge === null ? undefined : graph.edges.find(({ id }) => id === chosen.edge);
  if (!node && !edge) {
    return null;
  }
  const title = (id: string): string => graph.nodes.get(id)?.title ?? id;
  return (
    <aside className={styles.box} data-testid="topology-details" aria-label="Details">
      <header className={styles.head}>
        <h5>{node ? node.title : `${title(edge!.source)} → ${title(edge!.target)}`}</h5>
        <IconButton name="times" tooltip="Close" onClick={() => actions.choose({ node: null, edge: null })} />
      </header>
      {node && (
        <NodeDetails
          node={node}
          graph={graph}
          actions={actions}
          pinned={pins.has(node.id)}
          position={positions.get(node.id)}
          focused={focus === node.id}
        />
      )}
      {edge && <EdgeDetails edge={edge} actions={actions} title={title} />}
    </aside>
  );
};

const NodeDetails: React.FC<{
  node: GraphNode;
  graph: Graph;
  actions: MapActions;
  pinned: boolean;
  position: Point | undefined;
  focused: boolean;
}> = ({ node, graph, actions, pinned, position, focused }) => {
  const styles = useStyles2(getStyles);
  const edges = graph.edges.filter(({ source, target }) => source === node.id || target === node.id);
  const facts: Array<[string, string]> = [['kind', node.kind]];
  if (node.namespace && node.kind !== 'namespace') {
    facts.push(['namespace', node.namespace]);
  }
  if (node.members > 1) {
    facts.push(['holds', `${node.members} finer places`]);
  }
  if (node.machines.length > 0 && node.kind !== 'node') {
    facts.push(['on node', node.machines.join(', ')]);
  }
  if (node.addresses.length > 0) {
    facts.push(['addresses', node.addresses.join(', ')]);
  }
  return (
    <>
      <div className={styles.buttons}>
        <Button size="sm" variant="secondary" onClick={() => actions.focus(focused ? null : node.id)}>
          {focused ? 'Show all' : 'Focus'}
        </Button>
        {node.expandable && (
          <Button size="sm" variant="secondary" onClick={() => actions.expand(node.id)}>
            Expand
          </Button>
        )}
        {node.parent && (
          <Button size="sm" variant="secondary" onClick={() => actions.collapse(node.id)}>
            Collapse into {node.parent.title}
          </Button>
        )}
        {position && (
          <Button
            size="sm"
            variant="secondary"
            onClick={() => (pinned ? actions.unpin(node.id) : actions.pin(node.id, position))}
          >
            {pinned ? 'Unpin' : 'Pin'}
          </Button>
        )}
      </div>
      <Facts lines={facts} />
      {node.answered.requests + node.answered.connect_failures > 0 && (
        <Section title="As it is asked" totals={node.answered} />
      )}
      {node.asked.requests + node.asked.connect_failures > 0 && <Section title="As it asks" totals={node.asked} />}
      <h6>
        {edges.length} edge{edges.length === 1 ? '' : 's'}
      </h6>
      <ul className={styles.list}>
        {edges.slice(0, EDGES_SHOWN).map((edge) => (
          <li key={edge.id}>
            <Button size="sm" fill="text" onClick={() => actions.choose({ node: null, edge: edge.id })}>
              {edge.source === node.id ? '→ ' : '← '}
              {graph.nodes.get(edge.source === node.id ? edge.target : edge.source)?.title} {edge.protocol}{' '}
              {rateText(edge.now.requests)}
            </Button>
          </li>
        ))}
      </ul>
      {edges.length > EDGES_SHOWN && <small>and {edges.length - EDGES_SHOWN} more in the table</small>}
      <Links links={linksOf(edges)} />
    </>
  );
};

const EdgeDetails: React.FC<{ edge: GraphEdge; actions: MapActions; title: (id: string) => string }> = ({
  edge,
  actions,
  title,
}) => {
  const styles = useStyles2(getStyles);
  const facts: Array<[string, string]> = [
    ['protocol', edge.protocol || 'not known'],
    ['rows', String(edge.rows.length)],
  ];
  if (edge.ports.length > 0) {
    facts.push(['ports', edge.ports.join(', ')]);
  }
  if (edge.before) {
    facts.push(['earlier', rateText(edge.before.requests)], ['compared', edge.change]);
  }
  return (
    <>
      <div className={styles.buttons}>
        {[edge.source, edge.target].map((id) => (
          <Button key={id} size="sm" variant="secondary" onClick={() => actions.choose({ node: id, edge: null })}>
            {title(id)}
          </Button>
        ))}
      </div>
      <Facts lines={facts} />
      <Section title="Now" totals={edge.now} />
      {edge.before && edge.before.requests > 0 && <Section title="Earlier" totals={edge.before} />}
      <Links links={linksOf([edge])} />
    </>
  );
};

const Section: React.FC<{ title: string; totals: Totals }> = ({ title, totals }) => (
  <>
    <h6>{title}</h6>
    <Facts lines={totalsLines(totals)} />
  </>
);

const Facts: React.FC<{ lines: Array<[string, string]> }> = ({ lines }) => {
  const styles = useStyles2(getStyles);
  return (
    <dl className={styles.facts}>
      {lines.map(([name, value]) => (
        <React.Fragment key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </React.Fragment>
      ))}
    </dl>
  );
};

/** Each link once, from the busiest rows on. */
export function linksOf(edges: readonly GraphEdge[]): LinkModel[] {
  const found = new Map<string, LinkModel>();
  for (const row of edges.flatMap((edge) => edge.rows)) {
    for (const link of row.links?.() ?? []) {
      found.set(`${link.title}\n${link.href}`, link);
    }
    if (found.size >= LINKS_SHOWN) {
      break;
    }
  }
  return [...found.values()].slice(0, LINKS_SHOWN);
}

const Links: React.FC<{ links: LinkModel[] }> = ({ links }) => {
  const styles = useStyles2(getStyles);
  return links.length === 0 ? null : (
    <>
      <h6>Links</h6>
      <ul className={styles.list}>
        {links.map((link) => (
          <li key={link.title + link.href}>
            <a href={link.href} target={link.target} rel="noreferrer" className="external-link">
              {link.title}
            </a>
          </li>
        ))}
      </ul>
    </>
  );
};

const getStyles = (theme: GrafanaTheme2) => ({
  box: css({
    position: 'absolute',
    top: theme.spacing(1),
    right: theme.spacing(1),
    width: 290,
    maxHeight: `calc(100% - ${theme.spacing(2)})`,
    overflow: 'auto',
    zIndex: 2,
    padding: theme.spacing(1, 1.5),
    background: theme.colors.background.secondary,
    border: `1px solid ${theme.colors.border.medium}`,
    borderRadius: theme.shape.radius.default,
    boxShadow: theme.shadows.z2,
    fontSize: theme.typography.bodySmall.fontSize,
    h6: { marginTop: theme.spacing(1), marginBottom: theme.spacing(0.25) },
  }),
  head: css({
    display: 'flex',
    justifyContent: 'space-between',
    gap: theme.spacing(1),
    h5: { overflowWrap: 'anywhere', marginBottom: theme.spacing(0.5) },
  }),
  buttons: css({ display: 'flex', flexWrap: 'wrap', gap: theme.spacing(0.5), marginBottom: theme.spacing(1) }),
  facts: css({
    display: 'grid',
    gridTemplateColumns: 'max-content 1fr',
    columnGap: theme.spacing(1.5),
    margin: 0,
    dt: { fontWeight: theme.typography.fontWeightRegular, color: theme.colors.text.secondary },
    dd: { margin: 0, overflowWrap: 'anywhere' },
  }),
  list: css({ listStyle: 'none', margin: 0, a: { color: theme.colors.text.link } }),
});
