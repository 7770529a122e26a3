// SPDX-License-Identifier: Apache-2.0
// Numbers for people, and the colour of a protocol.

function short(value) {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1).replace(/\.0$/, "");
  return value.toFixed(2).replace(/\.?0+$/, "");
}

function scaled(value, units, step) {
  let index = 0;
  while (value >= step && index < units.length - 1) {
    value /= step;
    index += 1;
  }
  return short(value) + units[index];
}

export function count(value) {
  return value < 10000 ? String(Math.round(value)) : scaled(value, ["", "k", "M", "G"], 1000);
}

export function rate(value) {
  if (value === null || value === undefined) return "-";
  if (value > 0 && value < 0.01) return "<0.01/s";
  return `${scaled(value, ["", "k", "M"], 1000)}/s`;
}

export function bytes(value) {
  return value === null || value === undefined ? "-" : scaled(value, [" B", " kB", " MB", " GB", " TB"], 1000);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  if (seconds === 0) return "0";
  if (seconds < 0.000001) return "<1 µs";
  if (seconds < 0.001) return `${short(seconds * 1e6)} µs`;
  if (seconds < 1) return `${short(seconds * 1e3)} ms`;
  if (seconds < 120) return `${short(seconds)} s`;
  return age(seconds);
}

/** With two digits, for the map's labels. */
export function brief(seconds) {
  return seconds ? duration(Number(seconds.toPrecision(2))) : duration(seconds);
}

/** A latency quantile; its bound where it fell into the histogram's first bucket or the open last one. */
export function quantile(durations, name) {
  const text = duration(durations[name]);
  if (durations.at_most.includes(name)) return `<${text}`;
  return durations.at_least.includes(name) ? `≥ ${text}` : text;
}

export function share(value) {
  if (!value) return "0%";
  if (value < 0.001) return "<0.1%";
  return `${value >= 0.0995 ? Math.round(value * 100) : short(value * 100)}%`;
}

/** Coarse: for "how long ago". */
export function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function clock(rfc3339) {
  const at = new Date(rfc3339);
  const two = (value) => String(value).padStart(2, "0");
  const ms = String(at.getMilliseconds()).padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${ms}`;
}

export function hostPort(end) {
  if (!end.port) return end.ip;
  return end.ip.includes(":") ? `[${end.ip}]:${end.port}` : `${end.ip}:${end.port}`;
}

const FAMILIES = {
  http: ["http", "http2", "grpc", "dubbo"],
  dns: ["dns"],
  tls: ["tls"],
  websocket: ["websocket", "mqtt"],
  data: ["mysql", "postgresql", "mongodb", "redis", "memcached"],
  queue: ["kafka", "rocketmq", "amqp"],
};

/** A custom property of theme.css. */
export function colour(protocol) {
  const family = Object.keys(FAMILIES).find((name) => FAMILIES[name].includes(protocol));
  return `var(--p-${family ?? "plain"})`;
}

/** NOSUPPORT is a label value; people read what was moved: tcp or udp, undecoded. */
export function protocolName(protocol, l4) {
  if (protocol !== "NOSUPPORT") return protocol;
  const carriers = [l4].flat().filter(Boolean);
  return carriers.length === 1 ? carriers[0] : "undecoded";
}
