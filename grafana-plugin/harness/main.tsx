// SPDX-License-Identifier: Apache-2.0
/**
 * Loads the built plugin as Grafana does (an AMD module that asks for React, @grafana/data and @grafana/ui) and mounts its
 * panel with frames that the test hands over.
 */
import React from 'react';
import * as reactDom from 'react-dom';
import { createRoot } from 'react-dom/client';
import * as emotion from '@emotion/css';
import * as data from '@grafana/data';
import * as ui from '@grafana/ui';

type Definition = (...parts: unknown[]) => unknown;

const SHARED: Record<string, unknown> = {
  react: React,
  'react-dom': reactDom,
  '@emotion/css': emotion,
  '@grafana/data': data,
  '@grafana/ui': ui,
};

interface Scene {
  frames: Array<Record<string, unknown>>;
  state?: string;
  errors?: Array<Record<string, unknown>>;
  options?: Record<string, unknown>;
  links?: data.DataLink[];
  theme?: 'dark' | 'light';
  width?: number;
  height?: number;
}

interface Harness {
  ready: Promise<data.PanelPlugin>;
  show: (scene: Scene) => Promise<void>;
  options: Record<string, unknown>;
}

declare global {
  interface Window {
    define: unknown;
    harness: Harness;
  }
}

/** The little of an AMD loader that one module needs. */
async function load(uri: string): Promise<data.PanelPlugin> {
  const exported: { plugin?: data.PanelPlugin } = {};
  const loaded = new Promise<data.PanelPlugin>((resolve, reject) => {
    const define = (...given: unknown[]): void => {
      const parts = given.filter((part) => typeof part !== 'string');
      const [wants, definition] = parts as [string[], Definition];
      const answers = wants.map((want) => {
        const found = want === 'module' ? { id: uri, uri } : want === 'exports' ? exported : SHARED[want];
        if (found === undefined) {
          reject(new Error(`the plugin asks for ${want}, which Grafana does not share`));
        }
        return found;
      });
      const result = definition(...answers) as { plugin: data.PanelPlugin };
      resolve((result ?? exported).plugin!);
    };
    define.amd = {};
    window.define = define;
  });
  const script = document.createElement('script');
  script.src = uri;
  document.head.append(script);
  return loaded;
}

const plugin = load(new URL('/public/plugins/firesteel-topology-panel/module.js', window.location.href).href);
const root = createRoot(document.getElementById('root')!);

function framesOf(scene: Scene): data.DataFrame[] {
  const frames = scene.frames.map((frame) => data.toDataFrame(frame as never));
  if (!scene.links) {
    return frames;
  }
  return data.applyFieldOverrides({
    data: frames,
    fieldConfig: { defaults: { links: scene.links }, overrides: [] },
    replaceVariables: (text, variables) => interpolated(text, variables),
    theme: data.createTheme({ colors: { mode: scene.theme ?? 'dark' } }),
  });
}

/** `${__data.fields.NAME}` as Grafana's template service does it. */
function interpolated(text: string, variables?: data.ScopedVars): string {
  return text.replace(/\$\{__data\.fields\.(\w+)\}/g, (whole, name: string) => {
    const context = variables?.['__dataContext']?.value as
      { data: data.DataFrame[]; frameIndex: number; rowIndex: number } | undefined;
    const field = context?.data[context.frameIndex]?.fields.find((candidate) => candidate.name === name);
    return field && context ? String(field.values[context.rowIndex]) : whole;
  });
}

window.harness = {
  ready: plugin,
  options: {},
  show: async (scene) => {
    const loaded = await plugin;
    const Panel = loaded.panel as unknown as React.ComponentType<Record<string, unknown>>;
    const theme = data.createTheme({ colors: { mode: scene.theme ?? 'dark' } });
    const series = framesOf(scene);
    const range = data.getDefaultTimeRange();
    document.body.style.background = theme.colors.background.primary;
    document.body.style.margin = '0';
    // As Grafana's own style sheet has it.
    document.documentElement.style.fontSize = '14px';
    document.body.style.fontSize = '14px';
    const Holder: React.FC = () => {
      const [options, setOptions] = React.useState<Record<string, unknown>>({ ...scene.options });
      return (
        <data.ThemeContext.Provider value={theme}>
          <ui.GlobalStyles />
          <ui.PortalContainer />
          <Panel
            id={7}
            title="Topology"
            data={{
              state: scene.state ?? 'Done',
              series,
              errors: scene.errors,
              timeRange: range,
              request: { dashboardUID: 'harness' },
            }}
            options={options}
            onOptionsChange={(changed: Record<string, unknown>) => {
              window.harness.options = changed;
              setOptions(changed);
            }}
            fieldConfig={{ defaults: {}, overrides: [] }}
            onFieldConfigChange={() => undefined}
            onChangeTimeRange={() => undefined}
            eventBus={new data.EventBusSrv()}
            replaceVariables={(text: string) => text}
            timeRange={range}
            timeZone="utc"
            renderCounter={0}
            transparent={false}
            width={scene.width ?? 1180}
            height={scene.height ?? 640}
          />
        </data.ThemeContext.Provider>
      );
    };
    window.harness.options = { ...scene.options };
    root.render(<Holder />);
    await new Promise((resolve) => requestAnimationFrame(() => resolve(undefined)));
  },
};
