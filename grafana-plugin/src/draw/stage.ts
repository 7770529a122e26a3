// SPDX-License-Identifier: Apache-2.0
/**
 * A canvas with a scene on it. The scene is drawn once into a picture behind it; marks are drawn over a copy. While the
 * camera moves over a large scene the picture is moved and scaled, and drawn again when the movement rests.
 */
import type { Camera } from './camera';
import { clear, paintMarks, paintScene, type Marks, type View } from './paint';
import type { Palette } from './palette';
import type { Scene } from './scene';

/** Scenes with fewer edges are drawn anew in every frame of a movement. */
const LARGE = 700;
const REST_MS = 140;

export class Stage {
  private readonly context: CanvasRenderingContext2D | null;
  private readonly picture: HTMLCanvasElement;
  private drawn: { scene: Scene; view: View; palette: Palette } | null = null;
  private frame = 0;
  private rest: ReturnType<typeof setTimeout> | undefined;
  private scene: Scene | null = null;
  private view: View = { width: 1, height: 1, ratio: 1, camera: { scale: 1, x: 0, y: 0 } };
  private palette: Palette | null = null;
  private marks: Marks | null = null;
  private moving = false;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext('2d', { alpha: false });
    this.picture = canvas.ownerDocument.createElement('canvas');
  }

  show(scene: Scene, palette: Palette, marks: Marks, width: number, height: number, ratio: number): void {
    this.scene = scene;
    this.palette = palette;
    this.marks = marks;
    if (width !== this.view.width || height !== this.view.height || ratio !== this.view.ratio) {
      for (const canvas of [this.canvas, this.picture]) {
        canvas.width = Math.max(1, Math.round(width * ratio));
        canvas.height = Math.max(1, Math.round(height * ratio));
      }
      this.view = { ...this.view, width, height, ratio };
      this.drawn = null;
    }
    this.soon();
  }

  get camera(): Camera {
    return this.view.camera;
  }

  move(camera: Camera): void {
    this.view = { ...this.view, camera };
    this.moving = true;
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      this.moving = false;
      this.soon();
    }, REST_MS);
    this.soon();
  }

  close(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.rest);
  }

  private soon(): void {
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.draw();
      });
    }
  }

  private draw(): void {
    const { context, scene, palette, marks, view } = this;
    if (!context || !scene || !palette || !marks) {
      return;
    }
    const { drawn } = this;
    const stale = !drawn || drawn.scene !== scene || drawn.palette !== palette || drawn.view !== view;
    const mayWait = drawn !== null && drawn.palette === palette && this.moving && scene.edges.length > LARGE;
    if (stale && !mayWait) {
      const behind = this.picture.getContext('2d', { alpha: false });
      if (!behind) {
        return;
      }
      paintScene(behind, scene, view, palette);
      this.drawn = { scene, view, palette };
    }
    this.copy(context, view, palette);
    paintMarks(context, scene, view, palette, marks);
    // For those who read the page from outside, as the browser tests do: where the drawing lies on the canvas.
    this.canvas.dataset['camera'] = `${view.camera.scale} ${view.camera.x} ${view.camera.y}`;
  }

  /** The picture, shifted and scaled from the camera it was made with to the present one. */
  private copy(context: CanvasRenderingContext2D, view: View, palette: Palette): void {
    const made = this.drawn!.view.camera;
    const factor = view.camera.scale / made.scale;
    if (factor === 1 && made.x === view.camera.x && made.y === view.camera.y) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.drawImage(this.picture, 0, 0);
      return;
    }
    clear(context, view, palette);
    context.setTransform(
      factor,
      0,
      0,
      factor,
      (view.camera.x - made.x * factor) * view.ratio,
      (view.camera.y - made.y * factor) * view.ratio
    );
    context.drawImage(this.picture, 0, 0);
  }
}
