// SPDX-License-Identifier: Apache-2.0
import React, { useMemo } from 'react';
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { useStyles2, useTheme2 } from '@grafana/ui';
import { paletteOf } from '../draw/palette';
import { DASHES } from '../draw/scene';

export const Legend: React.FC<{ compare: boolean }> = ({ compare }) => {
  const styles = useStyles2(getStyles);
  const theme = useTheme2();
  const palette = useMemo(() => paletteOf(theme), [theme]);
  const lines: Array<[string, string, readonly number[]]> = compare
    ? [
        ['+ new', palette.change.new, []],
        ['× lost', palette.change.lost, DASHES.lost],
        ['~ changed', palette.change.changed, []],
        ['same', palette.change.same, []],
      ]
    : [
        ['good', palette.health.good, DASHES.good],
        ['warning', palette.health.warning, DASHES.warning],
        ['bad', palette.health.bad, DASHES.bad],
        ['no requests', palette.health.unknown, DASHES.unknown],
      ];
  return (
    <div className={styles.box} data-testid="topology-legend">
      {lines.map(([text, colour, dash]) => (
        <span key={text} className={styles.item}>
          <svg width="30" height="8" aria-hidden="true">
            <line x1="0" y1="4" x2="30" y2="4" stroke={colour} strokeWidth="3" strokeDasharray={dash.join(' ')} />
          </svg>
          {text}
        </span>
      ))}
      <span className={styles.item}>
        <svg width="34" height="18" viewBox="-1.2 -1.2 4.4 2.4" aria-hidden="true" stroke={palette.outline} fill="none">
          <polygon points="1,0 0.5,0.87 -0.5,0.87 -1,0 -0.5,-0.87 0.5,-0.87" strokeWidth="0.16" />
          <polygon points="3,0 2,1 1,0 2,-1" strokeWidth="0.16" />
        </svg>
        node, service
      </span>
      <span className={styles.item}>
        <svg width="34" height="18" viewBox="-1.2 -1.2 4.6 2.4" aria-hidden="true" stroke={palette.outline} fill="none">
          <polygon
            points="0.92,0.38 0.38,0.92 -0.38,0.92 -0.92,0.38 -0.92,-0.38 -0.38,-0.92 0.38,-0.92 0.92,-0.38"
            strokeWidth="0.16"
          />
          <circle cx="2.3" cy="0" r="0.92" strokeWidth="0.16" strokeDasharray="0.3 0.25" />
        </svg>
        outside, unresolved
      </span>
    </div>
  );
};

const getStyles = (theme: GrafanaTheme2) => ({
  box: css({
    position: 'absolute',
    left: theme.spacing(1),
    bottom: theme.spacing(1),
    display: 'flex',
    flexWrap: 'wrap',
    gap: theme.spacing(0.25, 1.5),
    maxWidth: '75%',
    padding: theme.spacing(0.25, 1),
    background: theme.colors.background.secondary,
    borderRadius: theme.shape.radius.default,
    fontSize: theme.typography.bodySmall.fontSize,
    color: theme.colors.text.secondary,
    opacity: 0.92,
    pointerEvents: 'none',
  }),
  item: css({ display: 'inline-flex', alignItems: 'center', gap: theme.spacing(0.5) }),
});
