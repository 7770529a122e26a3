// SPDX-License-Identifier: Apache-2.0
import { useCallback, useMemo, useState } from 'react';
import type { Point } from '../layout/model';

type Kept = Record<string, Point | null>;

export interface Pins {
  pins: ReadonlyMap<string, Point>;
  pin: (id: string, at: Point) => void;
  unpin: (id: string) => void;
}

/**
 * Pins are saved twice: in the panel's options, for whoever saves the dashboard, and in this browser, for viewers who may
 * not. What this browser has wins; null there means that a pin of the dashboard was taken out.
 */
export function usePins(
  saved: Record<string, Point> | undefined,
  save: (pins: Record<string, Point>) => void,
  key: string
): Pins {
  const [own, setOwn] = useState<{ key: string; kept: Kept }>(() => ({ key, kept: read(key) }));
  const kept = own.key === key ? own.kept : read(key);
  const pins = useMemo(() => merged(saved ?? {}, kept), [saved, kept]);
  const change = useCallback(
    (id: string, at: Point | null) => {
      const next = { ...kept, [id]: at };
      setOwn({ key, kept: next });
      write(key, next);
      save(Object.fromEntries(merged(saved ?? {}, next)));
    },
    [kept, key, save, saved]
  );
  return {
    pins,
    pin: change,
    unpin: useCallback((id: string) => change(id, null), [change]),
  };
}

function merged(saved: Record<string, Point>, kept: Kept): Map<string, Point> {
  const all = new Map(Object.entries(saved));
  for (const [id, at] of Object.entries(kept)) {
    if (at) {
      all.set(id, at);
    } else {
      all.delete(id);
    }
  }
  return all;
}

function isPoint(value: unknown): value is Point {
  return (
    typeof value === 'object' &&
    value !== null &&
    Number.isFinite((value as Point).x) &&
    Number.isFinite((value as Point).y)
  );
}

/** What this browser remembers; nothing if it may not, or if what is there is not ours. */
function read(key: string): Kept {
  try {
    const found: unknown = JSON.parse(window.localStorage.getItem(key) ?? '{}');
    if (typeof found !== 'object' || found === null) {
      return {};
    }
    return Object.fromEntries(Object.entries(found).filter(([, at]) => at === null || isPoint(at)));
  } catch {
    return {};
  }
}

function write(key: string, kept: Kept): void {
  try {
    window.localStorage.setItem(key, JSON.stringify(kept));
  } catch {
    // Storage is full or forbidden: the pins are in the panel's options all the same.
  }
}
