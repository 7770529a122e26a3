// SPDX-License-Identifier: Apache-2.0
// Looking at a drawing: fit, zoom, drag. Fits by itself until the reader takes over.

import { el } from "./dom.js";

const MARGIN = 44;
const FAR = 0.6; // below it small print is left out
const ZOOM = { least: 0.15, most: 2.5, fit: 1.15 };

export class Viewport {
  constructor(root, scene) {
    this.root = root;
    this.scene = scene;
    this.size = { width: 1, height: 1 };
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.taken = false; // the reader zoomed or dragged
    root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => this.#grab(event));
  }

  /** The drawing's size changed. */
  content(width, height) {
    this.size = { width, height };
    if (!this.taken) this.fit();
  }

  aspect() {
    const box = this.root.getBoundingClientRect();
    return box.height > 0 ? Math.min(4, Math.max(0.5, box.width / box.height)) : 2;
  }

  resized() {
    if (!this.taken) this.fit();
  }

  fit() {
    const box = this.root.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const wide = (box.width - 2 * MARGIN) / this.size.width;
    const high = (box.height - 2 * MARGIN) / this.size.height;
    this.scale = Math.max(ZOOM.least, Math.min(ZOOM.fit, wide, high));
    this.x = (box.width - this.size.width * this.scale) / 2;
    this.y = (box.height - this.size.height * this.scale) / 2;
    this.taken = false;
    this.#apply();
  }

  zoom(factor, at = null) {
    const box = this.root.getBoundingClientRect();
    const [px, py] = at ?? [box.width / 2, box.height / 2];
    const scale = Math.max(ZOOM.least, Math.min(ZOOM.most, this.scale * factor));
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    this.taken = true;
    this.#apply();
  }

  /** Brings a card into view. */
  reveal({ x, y }, { width, height }) {
    const box = this.root.getBoundingClientRect();
    const left = this.x + x * this.scale;
    const top = this.y + y * this.scale;
    this.x += Math.max(0, MARGIN / 2 - left) - Math.max(0, left + width * this.scale - box.width + MARGIN / 2);
    this.y += Math.max(0, MARGIN / 2 - top) - Math.max(0, top + height * this.scale - box.height + MARGIN / 2);
    this.#apply();
  }

  buttons() {
    const button = (name, sign, act) => el("button", { type: "button", "aria-label": name, title: name, on: { click: act } }, sign);
    return el("div", { class: "zoom" },
      button("Zoom in", "+", () => this.zoom(1.25)),
      button("Zoom out", "−", () => this.zoom(0.8)),
      button("Show everything", "⤢", () => this.fit()));
  }

  #apply() {
    this.scene.setAttribute("transform", `translate(${this.x.toFixed(2)} ${this.y.toFixed(2)}) scale(${this.scale.toFixed(4)})`);
    this.root.classList.toggle("far", this.scale < FAR);
  }

  #wheel(event) {
    event.preventDefault();
    const box = this.root.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), [event.clientX - box.left, event.clientY - box.top]);
  }

  #grab(event) {
    if (event.button !== 0) return;
    const start = { x: event.clientX, y: event.clientY, left: this.x, top: this.y };
    let dragged = false;
    const move = (to) => {
      const dx = to.clientX - start.x;
      const dy = to.clientY - start.y;
      if (!dragged && Math.hypot(dx, dy) < 4) return;
      dragged = true;
      this.root.classList.add("dragging");
      this.x = start.left + dx;
      this.y = start.top + dy;
      this.taken = true;
      this.#apply();
    };
    const swallow = (click) => click.stopPropagation();
    const release = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", release);
      window.removeEventListener("pointercancel", release);
      this.root.classList.remove("dragging");
      if (dragged) {
        // The end of a drag is not a click on what lies below.
        this.root.addEventListener("click", swallow, { capture: true, once: true });
        setTimeout(() => this.root.removeEventListener("click", swallow, { capture: true }), 0);
      }
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", release);
    window.addEventListener("pointercancel", release);
  }
}
