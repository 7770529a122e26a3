// SPDX-License-Identifier: Apache-2.0
/** In tests (jest.config.cjs) in place of spawn.ts: a page that may have no workers. */
export function spawnForce(): Worker {
  throw new Error('no workers here');
}

export function spawnElk(): Worker {
  throw new Error('no workers here');
}
