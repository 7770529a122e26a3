// SPDX-License-Identifier: Apache-2.0
/** The same edges as rows, for those who read rather than look. */
import React, { useMemo, useState } from 'react';
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { Button, useStyles2 } from '@grafana/ui';
import { errorShare, meanSeconds, type Graph, type GraphEdge } from '../graph/model';
import { bytesText, rateText, secondsText, shareText } from '../graph/text';
import type { Chosen } from './MapView';

interface Column {
  name: string;
  number: boolean;
  value: (edge: GraphEdge, graph: Graph) => string | number;
  text: (edge: GraphEdge, graph: Graph) => string;
}

const ROWS_A_PAGE = 200;

const words = (name: string, read: (edge: GraphEdge, graph: Graph) => string): Column => ({
  name,
  number: false,
  value: read,
  text: read,
});
const numbers = (name: string, read: (edge: GraphEdge) => number | null, show: (value: number) => string): Column => ({
  name,
  number: true,
  value: (edge) => read(edge) ?? -1,
  text: (edge) => {
    const value = read(edge);
    return value === null ? '–' : show(value);
  },
});

export const COLUMNS: Column[] = [
  words('From', (edge, graph) => graph.nodes.get(edge.source)?.title ?? edge.source),
  words('To', (edge, graph) => graph.nodes.get(edge.target)?.title ?? edge.target),
  words('Protocol', (edge) => edge.protocol),
  numbers('Rate', (edge) => edge.now.requests, rateText),
  numbers('Errors', (edge) => errorShare(edge.now), shareText),
  numbers('Mean latency', (edge) => meanSeconds(edge.now), secondsText),
  numbers('Sent', (edge) => edge.now.request_bytes, bytesText),
  numbers('Received', (edge) => edge.now.response_bytes, bytesText),
  numbers('Failed connects', (edge) => edge.now.connect_failures, rateText),
  numbers('Retransmits', (edge) => edge.now.retransmits, rateText),
];
const CHANGE = words('Compared', (edge) => edge.change);

interface Props {
  graph: Graph;
  compare: boolean;
  chosen: Chosen;
  choose: (chosen: Chosen) => void;
  width: number;
  height: number;
}

export const EdgeTable: React.FC<Props> = ({ graph, compare, chosen, choose, width, height }) => {
  const styles = useStyles2(getStyles);
  const [order, setOrder] = useState({ column: 'Rate', down: true });
  const [pages, setPages] = useState(1);
  const columns = compare ? [...COLUMNS, CHANGE] : COLUMNS;
  const sorted = useMemo(() => {
    const column = [...COLUMNS, CHANGE].find(({ name }) => name === order.column)!;
    const sign = order.down ? -1 : 1;
    return [...graph.edges].sort((a, b) => {
      const [x, y] = [column.value(a, graph), column.value(b, graph)];
      const less = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
      return sign * less || (a.id < b.id ? -1 : 1);
    });
  }, [graph, order]);
  const shown = sorted.slice(0, pages * ROWS_A_PAGE);
  return (
    <div className={styles.box} style={{ width, height }} data-testid="topology-table">
      <table className={styles.table}>
        <caption className={styles.caption}>{graph.edges.length} edges</caption>
        <thead>
          <tr>
            {columns.map(({ name, number }) => (
              <th
                key={name}
                className={number ? styles.number : undefined}
                aria-sort={order.column === name ? (order.down ? 'descending' : 'ascending') : 'none'}
              >
                <button
                  type="button"
                  className={styles.sort}
                  onClick={() => setOrder({ column: name, down: order.column === name ? !order.down : number })}
                >
                  {name}
                  {order.column === name ? (order.down ? ' ↓' : ' ↑') : ''}
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((edge) => (
            <tr
              key={edge.id}
              data-edge={edge.id}
              tabIndex={0}
              aria-selected={chosen.edge === edge.id}
              onClick={() => choose({ node: null, edge: edge.id })}
              onKeyDown={(event) => event.key === 'Enter' && choose({ node: null, edge: edge.id })}
            >
              {columns.map(({ name, number, text }) => (
                <td key={name} className={number ? styles.number : undefined}>
                  {text(edge, graph)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {shown.length < sorted.length && (
        <Button variant="secondary" size="sm" onClick={() => setPages(pages + 1)}>
          Show more ({sorted.length - shown.length} left)
        </Button>
      )}
    </div>
  );
};

const getStyles = (theme: GrafanaTheme2) => ({
  box: css({ overflow: 'auto' }),
  table: css({
    width: '100%',
    fontSize: theme.typography.bodySmall.fontSize,
    'th, td': { padding: theme.spacing(0.5, 1), textAlign: 'left', whiteSpace: 'nowrap' },
    th: { position: 'sticky', top: 0, background: theme.colors.background.secondary },
    'tbody tr': { cursor: 'pointer', borderBottom: `1px solid ${theme.colors.border.weak}` },
    'tbody tr:hover, tbody tr:focus-visible, tbody tr[aria-selected="true"]': {
      background: theme.colors.action.hover,
      outline: 'none',
    },
  }),
  caption: css({ position: 'absolute', width: 1, height: 1, overflow: 'hidden', clipPath: 'inset(50%)' }),
  number: css({ '&&': { textAlign: 'right' }, fontVariantNumeric: 'tabular-nums' }),
  sort: css({ background: 'none', border: 'none', padding: 0, font: 'inherit', color: 'inherit' }),
});
