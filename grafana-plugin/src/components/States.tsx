// SPDX-License-Identifier: Apache-2.0
/** What the panel shows instead of a map, and above one. */
import React from 'react';
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { Alert, LoadingBar, useStyles2 } from '@grafana/ui';
import type { PanelState } from '../frames/state';

export const StateView: React.FC<{ state: Exclude<PanelState, { kind: 'ready' }> }> = ({ state }) => {
  const styles = useStyles2(getStyles);
  switch (state.kind) {
    case 'loading':
      return (
        <div className={styles.middle} data-testid="topology-loading">
          <div className={styles.text}>
            <LoadingBar width={240} />
            Asking the data source who talks to whom…
          </div>
        </div>
      );
    case 'error':
      return (
        <div className={styles.wide} data-testid="topology-error">
          <Alert severity="error" title="The data source did not answer">
            {state.messages.map((message) => (
              <div key={message}>{message}</div>
            ))}
          </Alert>
        </div>
      );
    case 'shape':
      return (
        <div className={styles.wide} data-testid="topology-shape">
          <Alert severity="warning" title="This is not the shape of a topology">
            {state.problems.map(({ query, what, remedy }) => (
              <div key={query + what}>
                The query <strong>{query}</strong> {what}: {remedy}.
              </div>
            ))}
          </Alert>
        </div>
      );
    case 'empty':
      return (
        <div className={styles.middle} data-testid="topology-empty">
          <div className={styles.text}>
            <h4>Nobody talked to anybody</h4>
            <p>
              The queries were answered, and have no rows in this time range. Take a longer range, widen the variables
              above, and see on the dashboard “Agent health” whether agents are running and being scraped.
            </p>
          </div>
        </div>
      );
  }
};

const getStyles = (theme: GrafanaTheme2) => ({
  middle: css({ height: '100%', display: 'flex', alignItems: 'center', justifyContent: 'center' }),
  wide: css({ padding: theme.spacing(2), overflow: 'auto', height: '100%' }),
  text: css({ maxWidth: 460, textAlign: 'center', color: theme.colors.text.secondary }),
});
