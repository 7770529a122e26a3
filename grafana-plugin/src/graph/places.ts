// SPDX-License-Identifier: Apache-2.0
/** What an end is called at each level of folding, coarsest first. */
import type { End, Kind, Place, View } from './model';

export const NOT_FOUND_INTERNAL = 'NOT_FOUND_INTERNAL';
export const NOT_FOUND_EXTERNAL = 'NOT_FOUND_EXTERNAL';

/** Addresses that stand for "could not be told apart" on the metrics page (docs/metrics.md). */
const NO_ADDRESS = new Set(['', 'unknown', 'other']);

/** Private, shared, loopback and link-local space (RFC 1918, 6598, 1122, 3927, 4193, 4291): not somebody on the Internet. */
const PRIVATE =
  /^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:|::1$)/i;

const WORKLOAD_KINDS: Record<string, Kind> = {
  deployment: 'deployment',
  replicaset: 'deployment',
  rollout: 'deployment',
  statefulset: 'statefulset',
  daemonset: 'daemonset',
  job: 'job',
  cronjob: 'job',
  node: 'node',
  systemd: 'process',
  process: 'process',
  pod: 'pod',
  service: 'service',
};

export interface Chain {
  /** From coarse to fine. Never empty. */
  places: Place[];
  /** Which of them the view shows when nothing is expanded or collapsed. */
  start: number;
}

export function isInside(namespace: string): boolean {
  return namespace !== '' && namespace !== NOT_FOUND_INTERNAL && namespace !== NOT_FOUND_EXTERNAL;
}

/** Whether nothing names this end: no workload, service, pod, domain, and no address of the Internet or of a node. */
export function isUnresolved(end: End): boolean {
  if (end.workloadName || end.service || end.pod || end.domain) {
    return false;
  }
  if (end.namespace === NOT_FOUND_EXTERNAL) {
    // Without an address the query did not ask for it: then it is "outside" as a whole.
    return end.ip !== '' && (NO_ADDRESS.has(end.ip) || PRIVATE.test(end.ip));
  }
  if (end.namespace === NOT_FOUND_INTERNAL) {
    return end.ip !== '' && NO_ADDRESS.has(end.ip) && !end.node;
  }
  return true;
}

/** The levels of one end in a view. */
export function chainOf(end: End, view: View): Chain {
  if (isUnresolved(end)) {
    return outside('unresolved', 'unresolved', NO_ADDRESS.has(end.ip) ? '' : end.ip, view);
  }
  if (end.namespace === NOT_FOUND_EXTERNAL && !end.workloadName && !end.service && !end.pod) {
    return outside('external', 'outside', end.domain || end.ip, view);
  }
  if (view === 'nodes') {
    return byMachine(end);
  }
  const namespace = namespaceOf(end);
  const workload = workloadOf(end);
  const pod = podOf(end);
  if (view === 'services' && end.service) {
    const places = compact([namespace, serviceOf(end), pod]);
    return { places, start: namespace ? 1 : 0 };
  }
  const places = compact([namespace, workload, pod]);
  const wanted = view === 'namespaces' ? namespace : view === 'pods' ? (pod ?? workload) : (workload ?? pod);
  return { places, start: Math.max(0, wanted ? places.indexOf(wanted) : 0) };
}

function compact(places: Array<Place | null>): Place[] {
  return places.filter((place): place is Place => place !== null);
}

function outside(kind: 'external' | 'unresolved', word: string, name: string, view: View): Chain {
  const all: Place = {
    id: word,
    kind,
    level: 'namespace',
    title: word,
    subtitle: kind === 'external' ? 'beyond the cluster' : 'addresses without a name',
    namespace: '',
  };
  if (!name) {
    return { places: [all], start: 0 };
  }
  const one: Place = { ...all, id: `${word}/${name}`, level: 'outside', title: name, subtitle: word };
  return { places: [all, one], start: view === 'namespaces' ? 0 : 1 };
}

function byMachine(end: End): Chain {
  const name = end.node || (end.namespace === NOT_FOUND_INTERNAL && !NO_ADDRESS.has(end.ip) ? end.ip : '');
  const machine: Place = {
    id: `node/${name}`,
    kind: name ? 'node' : 'unresolved',
    level: 'node',
    title: name || 'node not known',
    subtitle: name ? 'node' : 'the metrics name no node here',
    namespace: '',
  };
  return { places: compact([machine, podOf(end) ?? workloadOf(end)]), start: 0 };
}

function namespaceOf(end: End): Place | null {
  const inside = isInside(end.namespace);
  const title = inside ? end.namespace : end.namespace === NOT_FOUND_INTERNAL ? 'hosts' : 'outside';
  return {
    id: inside ? `namespace/${end.namespace}` : title,
    kind: inside ? 'namespace' : title === 'hosts' ? 'node' : 'external',
    level: 'namespace',
    title,
    subtitle: inside ? 'namespace' : 'no namespace',
    namespace: inside ? end.namespace : '',
  };
}

function workloadOf(end: End): Place | null {
  if (end.workloadName) {
    return {
      id: `${end.namespace}/${end.workloadKind}/${end.workloadName}`,
      kind: WORKLOAD_KINDS[end.workloadKind.toLowerCase()] ?? 'workload',
      level: 'workload',
      title: end.workloadName,
      subtitle: isInside(end.namespace) ? end.namespace : end.workloadKind || 'workload',
      namespace: isInside(end.namespace) ? end.namespace : '',
    };
  }
  if (end.pod) {
    return null;
  }
  if (end.service) {
    return serviceOf(end);
  }
  if (end.namespace === NOT_FOUND_INTERNAL) {
    const name = end.node || end.ip;
    if (!name) {
      return null; // the query asked for neither: it is one of the hosts
    }
    return { id: `node/${name}`, kind: 'node', level: 'workload', title: name, subtitle: 'node', namespace: '' };
  }
  return null;
}

function serviceOf(end: End): Place {
  return {
    id: `${end.namespace}/service/${end.service}`,
    kind: 'service',
    level: 'service',
    title: end.service,
    subtitle: isInside(end.namespace) ? end.namespace : 'service',
    namespace: isInside(end.namespace) ? end.namespace : '',
  };
}

function podOf(end: End): Place | null {
  if (!end.pod) {
    return null;
  }
  return {
    id: `${end.namespace}/pod/${end.pod}`,
    kind: 'pod',
    level: 'pod',
    title: end.pod,
    subtitle: isInside(end.namespace) ? end.namespace : 'pod',
    namespace: isInside(end.namespace) ? end.namespace : '',
  };
}
