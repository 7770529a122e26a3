// SPDX-License-Identifier: Apache-2.0
/** Colours, all from the theme. Health is never told by colour alone: edges are dashed, rings thicker, nodes marked. */
import type { GrafanaTheme2 } from '@grafana/data';
import type { Change, Health } from '../graph/model';

export interface Palette {
  background: string;
  surface: string;
  text: string;
  faint: string;
  outline: string;
  accent: string;
  health: Record<Health, string>;
  change: Record<Change, string>;
  font: string;
}

/** Blue, yellow and red stay apart for people who cannot tell red from green; palette.test.ts measures it. */
export function paletteOf(theme: GrafanaTheme2): Palette {
  const named = (name: string): string => theme.visualization.getColorByName(name);
  return {
    background: theme.colors.background.primary,
    surface: theme.colors.background.secondary,
    text: theme.colors.text.primary,
    faint: theme.colors.text.disabled,
    outline: theme.colors.text.secondary,
    accent: theme.colors.primary.border,
    health: {
      unknown: theme.colors.text.disabled,
      good: named('blue'),
      warning: named('yellow'),
      bad: named(theme.isDark ? 'red' : 'dark-red'),
    },
    change: {
      same: theme.colors.text.disabled,
      new: named('purple'),
      lost: theme.colors.text.secondary,
      changed: named('orange'),
    },
    font: theme.typography.fontFamily,
  };
}
