// SPDX-License-Identifier: Apache-2.0
/** One shape and one sign for each kind of node, in a square from -1 to 1. */
import type { Kind } from '../graph/model';

type Pen = CanvasRenderingContext2D | Path2D;
type Stroke = (pen: Pen) => void;

function polygon(corners: number, turn: number): Stroke {
  return (pen) => {
    for (let corner = 0; corner < corners; corner++) {
      const angle = turn + (corner * 2 * Math.PI) / corners;
      const x = Math.cos(angle);
      const y = Math.sin(angle);
      if (corner === 0) {
        pen.moveTo(x, y);
      } else {
        pen.lineTo(x, y);
      }
    }
    pen.closePath();
  };
}

const circle: Stroke = (pen) => pen.arc(0, 0, 1, 0, 2 * Math.PI);
const square: Stroke = (pen) => pen.rect(-0.88, -0.88, 1.76, 1.76);

/** Outlines: what is no workload of the cluster has corners. */
export const SHAPES: Record<Kind, Stroke> = {
  namespace: square,
  deployment: circle,
  statefulset: circle,
  daemonset: circle,
  job: circle,
  process: circle,
  workload: circle,
  pod: circle,
  node: polygon(6, 0),
  service: polygon(4, 0),
  external: polygon(8, Math.PI / 8),
  unresolved: circle,
};

function lines(...paths: number[][]): Stroke {
  return (pen) => {
    for (const path of paths) {
      for (let at = 0; at < path.length; at += 2) {
        if (at === 0) {
          pen.moveTo(path[0]!, path[1]!);
        } else {
          pen.lineTo(path[at]!, path[at + 1]!);
        }
      }
    }
  };
}

function box(x: number, y: number, width: number, height: number): number[] {
  return [x, y, x + width, y, x + width, y + height, x, y + height, x, y];
}

function ellipse(pen: Pen, x: number, y: number, rx: number, ry: number): void {
  pen.moveTo(x + rx, y);
  pen.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
}

export const SIGNS: Record<Kind, Stroke> = {
  // A folder.
  namespace: lines([-0.5, 0.4, -0.5, -0.35, -0.15, -0.35, 0, -0.18, 0.5, -0.18, 0.5, 0.4, -0.5, 0.4]),
  // Two sheets, one before the other.
  deployment: lines(box(-0.42, -0.18, 0.6, 0.6), [-0.18, -0.18, -0.18, -0.42, 0.42, -0.42, 0.42, 0.18, 0.18, 0.18]),
  // A drum.
  statefulset: (pen) => {
    ellipse(pen, 0, -0.32, 0.42, 0.15);
    lines([-0.42, -0.32, -0.42, 0.3], [0.42, -0.32, 0.42, 0.3])(pen);
    pen.moveTo(0.42, 0.3);
    pen.ellipse(0, 0.3, 0.42, 0.15, 0, 0, Math.PI);
  },
  // One on each of three.
  daemonset: lines(
    box(-0.5, 0.08, 0.28, 0.34),
    box(-0.14, 0.08, 0.28, 0.34),
    box(0.22, 0.08, 0.28, 0.34),
    [-0.36, 0.08, -0.36, -0.2, 0.36, -0.2, 0.36, 0.08],
    [0, -0.42, 0, 0.08]
  ),
  // A clock.
  job: (pen) => {
    ellipse(pen, 0, 0, 0.48, 0.48);
    lines([0, -0.3, 0, 0, 0.22, 0.14])(pen);
  },
  // A prompt.
  process: lines([-0.4, -0.32, -0.05, 0, -0.4, 0.32], [0.05, 0.34, 0.45, 0.34]),
  workload: lines(box(-0.4, -0.4, 0.8, 0.8)),
  // A cube.
  pod: lines(
    [0, -0.5, 0.44, -0.25, 0.44, 0.25, 0, 0.5, -0.44, 0.25, -0.44, -0.25, 0, -0.5],
    [-0.44, -0.25, 0, 0, 0.44, -0.25],
    [0, 0, 0, 0.5]
  ),
  // A rack.
  node: lines(
    box(-0.46, -0.42, 0.92, 0.36),
    box(-0.46, 0.06, 0.92, 0.36),
    [-0.28, -0.24, -0.16, -0.24],
    [-0.28, 0.24, -0.16, 0.24]
  ),
  // One door, several ways on.
  service: lines([-0.5, 0, -0.1, 0], [-0.1, 0, 0.36, -0.36], [-0.1, 0, 0.42, 0], [-0.1, 0, 0.36, 0.36]),
  // A globe.
  external: (pen) => {
    ellipse(pen, 0, 0, 0.5, 0.5);
    ellipse(pen, 0, 0, 0.2, 0.5);
    lines([-0.5, 0, 0.5, 0])(pen);
  },
  // A question mark.
  unresolved: (pen) => {
    pen.moveTo(-0.24, -0.26);
    pen.bezierCurveTo(-0.24, -0.62, 0.28, -0.62, 0.28, -0.22);
    pen.bezierCurveTo(0.28, 0.02, 0, 0.02, 0, 0.22);
    lines([0, 0.4, 0, 0.46])(pen);
  },
};
