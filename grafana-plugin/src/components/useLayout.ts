// SPDX-License-Identifier: Apache-2.0
import { useCallback, useEffect, useRef, useState } from 'react';
import type { Graph } from '../graph/model';
import { radiusOf } from '../draw/scene';
import { LayoutClient } from '../layout/client';
import type { LayoutKind, Point, Positions } from '../layout/model';
import { planLayout } from '../layout/stable';

export interface Layout {
  positions: Positions;
  /** Grows with each layout that was asked for as a whole, so that the camera can follow. */
  turn: number;
  busy: boolean;
  /** Forgets every place but the pins. */
  again: () => void;
}

/** Places for the nodes of a graph, kept from one refresh to the next, for each kind of layout apart. */
export function useLayout(graph: Graph, kind: LayoutKind, pins: ReadonlyMap<string, Point>): Layout {
  const client = useRef<LayoutClient | null>(null);
  const known = useRef<Record<LayoutKind, Map<string, Point>>>({ force: new Map(), layered: new Map() });
  const [state, setState] = useState<{ positions: Positions; busy: boolean; turn: number }>({
    positions: new Map(),
    busy: true,
    turn: 0,
  });
  const [asked, setAsked] = useState(0);
  const again = useCallback(() => {
    known.current[kind] = new Map();
    setAsked((count) => count + 1);
  }, [kind]);

  useEffect(() => {
    client.current = new LayoutClient();
    return () => client.current?.close();
  }, []);

  useEffect(() => {
    const places = known.current[kind];
    const plan = planLayout(graph, kind, places, pins, (id) => radiusOf(graph.nodes.get(id)!));
    const whole = plan.request.nodes.every((node) => node.fixed === null || pins.has(node.id));
    const publish = (busy: boolean, turns = 0): void =>
      setState((was) => ({ positions: new Map([...places, ...pins]), busy, turn: was.turn + turns }));
    if (!plan.needed) {
      publish(false);
      return;
    }
    publish(true, whole ? 1 : 0);
    client.current?.ask(plan.request, ({ positions, done }) => {
      positions.forEach((point, id) => places.set(id, point));
      publish(!done);
    });
  }, [graph, kind, pins, asked]);

  return { ...state, again };
}
