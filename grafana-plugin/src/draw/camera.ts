// SPDX-License-Identifier: Apache-2.0
import type { Point } from '../layout/model';
import type { Scene } from './scene';

/** Screen = drawing × scale + offset, in CSS pixels. */
export interface Camera {
  scale: number;
  x: number;
  y: number;
}

export const SMALLEST_SCALE = 0.03;
export const LARGEST_SCALE = 4;
const MARGIN = 48;

export function toScreen(camera: Camera, point: Point): Point {
  return { x: point.x * camera.scale + camera.x, y: point.y * camera.scale + camera.y };
}

export function toDrawing(camera: Camera, point: Point): Point {
  return { x: (point.x - camera.x) / camera.scale, y: (point.y - camera.y) / camera.scale };
}

export function zoomed(camera: Camera, at: Point, factor: number): Camera {
  const scale = Math.min(LARGEST_SCALE, Math.max(SMALLEST_SCALE, camera.scale * factor));
  const applied = scale / camera.scale;
  return { scale, x: at.x - (at.x - camera.x) * applied, y: at.y - (at.y - camera.y) * applied };
}

export function fitted(bounds: Scene['bounds'], width: number, height: number): Camera {
  const wide = Math.max(1, bounds.right - bounds.left);
  const high = Math.max(1, bounds.bottom - bounds.top);
  const room = (size: number): number => Math.max(1, size - 2 * MARGIN);
  const scale = Math.min(1.4, Math.max(SMALLEST_SCALE, Math.min(room(width) / wide, room(height) / high)));
  return {
    scale,
    x: width / 2 - ((bounds.left + bounds.right) / 2) * scale,
    y: height / 2 - ((bounds.top + bounds.bottom) / 2) * scale,
  };
}

/** Moves so that a point is in the middle, and no farther away than it can be read. */
export function centred(camera: Camera, point: Point, width: number, height: number): Camera {
  const scale = Math.max(camera.scale, 0.7);
  return { scale, x: width / 2 - point.x * scale, y: height / 2 - point.y * scale };
}
