// SPDX-License-Identifier: Apache-2.0
/** The drawing, and what pointer and keyboard do with it. */
import React, { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { IconButton, useStyles2, useTheme2 } from '@grafana/ui';
import { centred, fitted, toDrawing, zoomed, type Camera } from '../draw/camera';
import { paletteOf } from '../draw/palette';
import type { Marks } from '../draw/paint';
import { edgeAt, makeScene, nodeAt, type LabelMode, type Scene } from '../draw/scene';
import { Stage } from '../draw/stage';
import { edgeSummary, nodeSummary, type Summary } from '../graph/summary';
import type { Graph } from '../graph/model';
import type { Layout } from './useLayout';
import type { Point } from '../layout/model';

export interface Chosen {
  node: string | null;
  edge: string | null;
}

export interface MapActions {
  choose: (chosen: Chosen) => void;
  expand: (id: string) => void;
  collapse: (id: string) => void;
  focus: (id: string | null) => void;
  pin: (id: string, at: Point) => void;
  unpin: (id: string) => void;
  search: () => void;
}

interface Props {
  graph: Graph;
  layout: Layout;
  labels: LabelMode;
  compare: boolean;
  pins: ReadonlyMap<string, Point>;
  chosen: Chosen;
  found: ReadonlySet<string>;
  /** Changes when the camera is to show a node, or everything (null). */
  lookAt: { id: string | null; serial: number };
  actions: MapActions;
  width: number;
  height: number;
}

const SLACK = 4;
const CLICK_PIXELS = 4;
const STEP = 1.25;
const WHEEL = 0.0015;

type Grip = { kind: 'pan'; from: Camera } | { kind: 'node'; id: string; offset: Point };

export const MapView: React.FC<Props> = (props) => {
  const { graph, layout, labels, compare, pins, chosen, found, lookAt, actions, width, height } = props;
  const theme = useTheme2();
  const styles = useStyles2(getStyles);
  const canvas = useRef<HTMLCanvasElement>(null);
  const stage = useRef<Stage | null>(null);
  const grip = useRef<{ grip: Grip; start: Point; moved: boolean } | null>(null);
  const followed = useRef(true);
  const [hovered, setHovered] = useState<Chosen & { at: Point | null }>({ node: null, edge: null, at: null });
  const [dragged, setDragged] = useState<{ id: string; at: Point } | null>(null);
  const [keyboard, setKeyboard] = useState(false);
  const [gripped, setGripped] = useState(false);
  const palette = useMemo(() => paletteOf(theme), [theme]);

  const positions = useMemo(() => {
    if (!dragged) {
      return layout.positions;
    }
    return new Map(layout.positions).set(dragged.id, dragged.at);
  }, [layout.positions, dragged]);
  const scene = useMemo(() => makeScene(graph, positions, labels, compare), [graph, positions, labels, compare]);
  const marks: Marks = useMemo(
    () => ({
      hoveredNode: hovered.node,
      hoveredEdge: hovered.edge,
      chosenNode: chosen.node,
      chosenEdge: chosen.edge,
      found,
      pinned: new Set(pins.keys()),
      keyboard,
    }),
    [hovered.node, hovered.edge, chosen.node, chosen.edge, found, pins, keyboard]
  );

  useEffect(() => {
    stage.current = new Stage(canvas.current!);
    return () => stage.current?.close();
  }, []);

  useEffect(() => {
    stage.current?.show(scene, palette, marks, width, height, window.devicePixelRatio || 1);
  }, [scene, palette, marks, width, height]);

  const fit = useCallback(
    (what: Scene) => {
      stage.current?.move(fitted(what.bounds, width, height));
    },
    [width, height]
  );

  // The camera follows a layout that is being made, until somebody moves it.
  useEffect(() => {
    if (followed.current && scene.nodes.length > 0) {
      fit(scene);
      followed.current = layout.busy;
    }
  }, [scene, layout.busy, fit]);
  useEffect(() => {
    followed.current = true;
  }, [layout.turn, width, height]);

  const lastLook = useRef(lookAt.serial);
  useEffect(() => {
    if (lookAt.serial === lastLook.current) {
      return;
    }
    lastLook.current = lookAt.serial;
    const node = lookAt.id === null ? null : scene.byId.get(lookAt.id);
    followed.current = false;
    if (node && stage.current) {
      stage.current.move(centred(stage.current.camera, node, width, height));
    } else {
      fit(scene);
    }
  }, [lookAt, scene, fit, width, height]);

  const zoom = useCallback(
    (factor: number, at: Point = { x: width / 2, y: height / 2 }) => {
      followed.current = false;
      if (stage.current) {
        stage.current.move(zoomed(stage.current.camera, at, factor));
      }
    },
    [width, height]
  );

  // React listens passively to wheels; a passive listener may not keep the dashboard from scrolling.
  useEffect(() => {
    const element = canvas.current!;
    const wheel = (event: WheelEvent): void => {
      const ours = event.ctrlKey || event.metaKey || element.ownerDocument.activeElement === element.parentElement;
      if (ours) {
        event.preventDefault();
        zoom(Math.exp(-event.deltaY * WHEEL * (event.deltaMode === 1 ? 20 : 1)), {
          x: event.offsetX,
          y: event.offsetY,
        });
      }
    };
    element.addEventListener('wheel', wheel, { passive: false });
    return () => element.removeEventListener('wheel', wheel);
  }, [zoom]);

  const drawingPoint = (event: React.PointerEvent | React.MouseEvent): Point => {
    const box = canvas.current!.getBoundingClientRect();
    return toDrawing(stage.current!.camera, { x: event.clientX - box.left, y: event.clientY - box.top });
  };
  const under = (point: Point): Chosen => {
    const slack = SLACK / stage.current!.camera.scale;
    const node = nodeAt(scene, point, slack);
    return node
      ? { node: node.node.id, edge: null }
      : { node: null, edge: edgeAt(scene, point, slack)?.edge.id ?? null };
  };

  const down = (event: React.PointerEvent): void => {
    if (event.button !== 0) {
      return;
    }
    canvas.current!.setPointerCapture(event.pointerId);
    setKeyboard(false);
    setGripped(true);
    const point = drawingPoint(event);
    const { node } = under(point);
    const held = node ? scene.byId.get(node)! : null;
    grip.current = {
      grip: held
        ? { kind: 'node', id: held.node.id, offset: { x: held.x - point.x, y: held.y - point.y } }
        : { kind: 'pan', from: stage.current!.camera },
      start: { x: event.clientX, y: event.clientY },
      moved: false,
    };
  };

  const move = (event: React.PointerEvent): void => {
    const held = grip.current;
    if (!held) {
      const box = canvas.current!.getBoundingClientRect();
      const next = under(drawingPoint(event));
      if (next.node !== hovered.node || next.edge !== hovered.edge) {
        setHovered({ ...next, at: { x: event.clientX - box.left, y: event.clientY - box.top } });
      }
      return;
    }
    const [dx, dy] = [event.clientX - held.start.x, event.clientY - held.start.y];
    held.moved ||= Math.hypot(dx, dy) > CLICK_PIXELS;
    if (!held.moved) {
      return;
    }
    followed.current = false;
    if (held.grip.kind === 'pan') {
      stage.current!.move({ ...held.grip.from, x: held.grip.from.x + dx, y: held.grip.from.y + dy });
    } else {
      const point = drawingPoint(event);
      setDragged({ id: held.grip.id, at: { x: point.x + held.grip.offset.x, y: point.y + held.grip.offset.y } });
    }
  };

  const up = (event: React.PointerEvent): void => {
    const held = grip.current;
    grip.current = null;
    setGripped(false);
    if (!held) {
      return;
    }
    if (!held.moved) {
      actions.choose(under(drawingPoint(event)));
    } else if (dragged) {
      actions.pin(dragged.id, dragged.at);
    }
    setDragged(null);
  };

  const key = (event: React.KeyboardEvent): void => {
    const way = ARROWS[event.key];
    setKeyboard(true);
    if (way) {
      const next = nearestTowards(scene, chosen.node, way);
      if (next) {
        actions.choose({ node: next, edge: null });
        keepInSight(stage.current, scene, next, width, height);
      }
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key]) {
      KEYS[event.key]!({ actions, chosen, pins, scene, zoom, fit: () => fit(scene) });
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const tip = summaryOf(graph, hovered);
  const spoken = summaryOf(graph, chosen);

  return (
    <div className={styles.box} style={{ width, height }}>
      <div
        className={styles.map}
        role="application"
        // The map is one stop of the Tab key; arrow keys go on within it.
        tabIndex={0}
        aria-label={`Topology: ${scene.nodes.length} nodes, ${scene.edges.length} edges. Arrow keys go from node to node, Enter shows details, E expands, C collapses, F focuses, P pins, slash searches, Escape lets go.`}
        onKeyDown={key}
        onBlur={() => setKeyboard(false)}
        data-testid="topology-map"
        data-nodes={scene.nodes.length}
        data-edges={scene.edges.length}
        data-busy={layout.busy}
      >
        <canvas
          ref={canvas}
          style={{ width, height, cursor: hovered.node || hovered.edge ? 'pointer' : 'grab' }}
          onPointerDown={down}
          onPointerMove={move}
          onPointerUp={up}
          onPointerLeave={() => setHovered({ node: null, edge: null, at: null })}
          onDoubleClick={(event) => {
            const { node } = under(drawingPoint(event));
            if (node) {
              actions.expand(node);
            }
          }}
        />
      </div>
      {tip && hovered.at && !gripped && (
        <div
          className={styles.tip}
          style={{
            left: Math.min(hovered.at.x + 14, width - 260),
            top: Math.min(hovered.at.y + 14, height - 24 - tip.lines.length * 18),
          }}
        >
          <strong>{tip.title}</strong>
          {tip.lines.map((line) => (
            <div key={line}>{line}</div>
          ))}
        </div>
      )}
      <div className={styles.zoom}>
        <IconButton name="plus" tooltip="Zoom in" onClick={() => zoom(STEP)} />
        <IconButton name="minus" tooltip="Zoom out" onClick={() => zoom(1 / STEP)} />
        <IconButton name="square-shape" tooltip="Fit everything" onClick={() => fit(scene)} />
        <IconButton name="sync" tooltip="Lay out again; pins stay" onClick={layout.again} />
      </div>
      <div className={styles.spoken} aria-live="polite" data-testid="topology-spoken">
        {spoken ? [spoken.title, ...spoken.lines].join(', ') : ''}
      </div>
    </div>
  );
};

function summaryOf(graph: Graph, { node, edge }: Chosen): Summary | null {
  return node !== null ? nodeSummary(graph, node) : edge !== null ? edgeSummary(graph, edge) : null;
}

const ARROWS: Record<string, Point | undefined> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

interface KeyContext {
  actions: MapActions;
  chosen: Chosen;
  pins: ReadonlyMap<string, Point>;
  scene: Scene;
  zoom: (factor: number) => void;
  fit: () => void;
}

const onNode =
  (act: (id: string, context: KeyContext) => void) =>
  (context: KeyContext): void => {
    if (context.chosen.node) {
      act(context.chosen.node, context);
    }
  };

const KEYS: Record<string, ((context: KeyContext) => void) | undefined> = {
  Enter: onNode((id, { actions }) => actions.choose({ node: id, edge: null })),
  e: onNode((id, { actions }) => actions.expand(id)),
  c: onNode((id, { actions }) => actions.collapse(id)),
  f: onNode((id, { actions }) => actions.focus(id)),
  p: onNode((id, { actions, pins, scene }) => {
    const node = scene.byId.get(id);
    if (pins.has(id)) {
      actions.unpin(id);
    } else if (node) {
      actions.pin(id, { x: node.x, y: node.y });
    }
  }),
  '/': ({ actions }) => actions.search(),
  '+': ({ zoom }) => zoom(STEP),
  '=': ({ zoom }) => zoom(STEP),
  '-': ({ zoom }) => zoom(1 / STEP),
  '0': ({ fit }) => fit(),
  Escape: ({ actions }) => {
    actions.choose({ node: null, edge: null });
    actions.focus(null);
  },
};

/** The nearest node in a direction, one at a slant counting as farther; without a start the busiest. */
export function nearestTowards(scene: Scene, from: string | null, way: Point): string | null {
  const start = from === null ? undefined : scene.byId.get(from);
  if (!start) {
    const busiest = [...scene.nodes].sort((a, b) => b.node.answered.requests - a.node.answered.requests)[0];
    return busiest?.node.id ?? null;
  }
  let best: string | null = null;
  let nearest = Infinity;
  for (const node of scene.nodes) {
    const along = (node.x - start.x) * way.x + (node.y - start.y) * way.y;
    const across = Math.abs((node.x - start.x) * way.y) + Math.abs((node.y - start.y) * way.x);
    if (node === start || along <= 0 || across > along * 2.5) {
      continue;
    }
    const distance = along + across * 1.5;
    if (distance < nearest) {
      nearest = distance;
      best = node.node.id;
    }
  }
  return best;
}

function keepInSight(stage: Stage | null, scene: Scene, id: string, width: number, height: number): void {
  const node = scene.byId.get(id);
  if (!node || !stage) {
    return;
  }
  const { camera } = stage;
  const [x, y] = [node.x * camera.scale + camera.x, node.y * camera.scale + camera.y];
  if (x < 40 || y < 40 || x > width - 40 || y > height - 40) {
    stage.move(centred(camera, node, width, height));
  }
}

const getStyles = (theme: GrafanaTheme2) => ({
  box: css({ position: 'relative', overflow: 'hidden' }),
  map: css({
    width: '100%',
    height: '100%',
    '&:focus-visible': { outline: `2px solid ${theme.colors.primary.border}`, outlineOffset: -2 },
    canvas: { display: 'block', touchAction: 'none' },
  }),
  tip: css({
    position: 'absolute',
    maxWidth: 260,
    padding: theme.spacing(0.5, 1),
    background: theme.colors.background.secondary,
    border: `1px solid ${theme.colors.border.medium}`,
    borderRadius: theme.shape.radius.default,
    boxShadow: theme.shadows.z2,
    fontSize: theme.typography.bodySmall.fontSize,
    pointerEvents: 'none',
    overflowWrap: 'anywhere',
  }),
  zoom: css({
    position: 'absolute',
    right: theme.spacing(1),
    bottom: theme.spacing(1),
    display: 'flex',
    flexDirection: 'column',
    gap: theme.spacing(0.5),
    padding: theme.spacing(0.5),
    background: theme.colors.background.secondary,
    border: `1px solid ${theme.colors.border.weak}`,
    borderRadius: theme.shape.radius.default,
    button: { margin: 0 },
  }),
  spoken: css({ position: 'absolute', width: 1, height: 1, overflow: 'hidden', clipPath: 'inset(50%)' }),
});
