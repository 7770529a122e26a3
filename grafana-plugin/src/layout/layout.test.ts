// SPDX-License-Identifier: Apache-2.0
import ElkBundled from 'elkjs/lib/elk.bundled.js';
import { row, workload } from '../testing/frames';
import { aggregate } from '../graph/aggregate';
import { LayoutClient } from './client';
import { elkPlaces, suitsElk } from './elk';
import { ForceLayout } from './force';
import { layersOf } from './layers';
import type { LayoutRequest, Point } from './model';
import { planLayout } from './stable';

const pairs = (text: string) => text.split(' ').map((pair) => ({ source: pair.charAt(0), target: pair.charAt(1) }));

function request(ids: string, links: string, kind: LayoutRequest['kind'] = 'force'): LayoutRequest {
  return {
    kind,
    nodes: [...ids].map((id) => ({ id, group: 'g', radius: 20, fixed: null, near: null })),
    links: pairs(links),
  };
}

function places(asked: LayoutRequest): Map<string, Point> {
  const layout = new ForceLayout(asked);
  while (!layout.advance(20)) {
    // until it rests
  }
  const flat = layout.places();
  return new Map(asked.nodes.map(({ id }, at) => [id, { x: flat[2 * at]!, y: flat[2 * at + 1]! }]));
}

describe('layers', () => {
  it('puts callers before whom they call, by the longest path', () => {
    const layers = layersOf([...'abcd'], pairs('ab bc ac cd'));
    expect([...'abcd'].map((id) => layers.get(id))).toEqual([0, 1, 2, 3]);
  });

  it('ends on cycles, links to itself and long chains', () => {
    expect(layersOf([...'ab'], pairs('ab ba aa')).get('b')).toBe(1);
    const long = Array.from({ length: 20000 }, (_, at) => String(at));
    const links = long.slice(1).map((target, at) => ({ source: String(at), target }));
    expect(layersOf(long, links).get('19999')).toBe(19999);
  });
});

describe('forces', () => {
  it('gives the same places each time, apart from each other', () => {
    const asked = request('abcdef', 'ab ac ad ae af bc');
    expect(places(asked)).toEqual(places(asked));
    const found = [...places(asked).values()];
    found.forEach((a, i) =>
      found.slice(i + 1).forEach((b) => expect(Math.hypot(a.x - b.x, a.y - b.y)).toBeGreaterThan(40))
    );
  });

  it('does not move what is fixed', () => {
    const asked = request('abc', 'ab bc');
    asked.nodes[1]!.fixed = { x: 500, y: -40 };
    expect(places(asked).get('b')).toEqual({ x: 500, y: -40 });
  });

  it('holds nodes on their layers', () => {
    const found = places(request('abcd', 'ab bc cd', 'layered'));
    const across = [...'abcd'].map((id) => found.get(id)!.x);
    expect(across).toEqual([...across].sort((a, b) => a - b));
    expect(across[3]! - across[0]!).toBeGreaterThan(500);
  });
});

describe('ELK', () => {
  it('lays layers out from left to right', async () => {
    const asked = request('abc', 'ab bc', 'layered');
    expect(suitsElk(asked)).toBe(true);
    expect(suitsElk({ ...asked, kind: 'force' })).toBe(false);
    const flat = await elkPlaces(new ElkBundled(), asked);
    expect(flat[0]).toBeLessThan(flat[2]!);
    expect(flat[2]).toBeLessThan(flat[4]!);
  });
});

describe('stability', () => {
  const fold = (names: string[]) =>
    aggregate(
      names.map((name) => row(workload('hub'), workload(name))),
      {
        view: 'workloads',
        expanded: new Set(),
        collapsed: new Set(),
        edges: 'protocol',
        maxNodes: 1000,
        thresholds: { errorsWarning: 1, errorsBad: 1, latencyWarning: 1e9, latencyBad: 1e9 },
        changeFactor: 2,
        compare: false,
      }
    );
  const known = new Map(
    ['hub', 'a', 'b'].map((name, at): [string, Point] => [`shop/Deployment/${name}`, { x: at * 100, y: 7 }])
  );

  it('asks for nothing when every node has its place', () => {
    expect(planLayout(fold(['a', 'b']), 'force', known, new Map(), () => 20).needed).toBe(false);
  });

  it('keeps what has a place, and puts what is new beside its neighbours', () => {
    const { needed, request: asked } = planLayout(fold(['a', 'b', 'c']), 'force', known, new Map(), () => 20);
    expect(needed).toBe(true);
    const found = places(asked);
    known.forEach((point, id) => expect(found.get(id)).toEqual(point));
    const fresh = found.get('shop/Deployment/c')!;
    expect(Math.hypot(fresh.x, fresh.y - 7)).toBeLessThan(600);
  });

  it('starts anew when nearly everything is new, and still keeps pins', () => {
    const pins = new Map([['shop/Deployment/x', { x: 1, y: 2 }]]);
    const { request: asked } = planLayout(fold(['x', 'y', 'z', 'v', 'w']), 'force', known, pins, () => 20);
    expect(asked.nodes.filter(({ fixed }) => fixed !== null).map(({ id }) => id)).toEqual(['shop/Deployment/x']);
  });
});

describe('without workers', () => {
  it('answers all the same, with a first picture before the last', async () => {
    const client = new LayoutClient();
    const heard: boolean[] = [];
    await new Promise<void>((resolve) => {
      client.ask(request('abc', 'ab bc', 'layered'), ({ positions, done }) => {
        expect(positions.size).toBe(3);
        heard.push(done);
        if (done) {
          resolve();
        }
      });
    });
    expect(heard[0]).toBe(false);
    expect(heard.filter(Boolean)).toHaveLength(1);
    client.close();
  });
});
