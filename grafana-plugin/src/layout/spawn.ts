// SPDX-License-Identifier: Apache-2.0
/** The two workers, as files beside module.js: Grafana's content security policy admits those, but no blobs. */

/** Throws where the page may have no workers. */
export function spawnForce(): Worker {
  return new Worker(new URL('./worker.ts', import.meta.url));
}

/** ELK's own worker, untouched. Throws where the page may have no workers. */
export function spawnElk(): Worker {
  const file = new URL('elkjs/lib/elk-worker.min.js', import.meta.url);
  return new Worker(file);
}
