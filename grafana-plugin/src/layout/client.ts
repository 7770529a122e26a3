// SPDX-License-Identifier: Apache-2.0
/** Asks for layouts and hears the answers; in workers where the page may have them, else in turns of this thread. */
import ElkApi, { type ELK } from 'elkjs/lib/elk-api';
import { elkPlaces, suitsElk } from './elk';
import { ForceLayout } from './force';
import { spawnElk, spawnForce } from './spawn';
import type { LayoutQuestion, LayoutReply, LayoutRequest, Positions } from './model';

const TICKS_A_TURN = 4;

export interface Progress {
  positions: Positions;
  done: boolean;
}

type Listener = (progress: Progress) => void;

export class LayoutClient {
  private worker: Worker | null = null;
  private elk: ELK | null = null;
  private serial = 0;
  private waiting: { request: LayoutRequest; listener: Listener } | null = null;
  private workerRefused = false;

  /** Answers to earlier questions are not heard any more. */
  ask(request: LayoutRequest, listener: Listener): void {
    this.serial++;
    this.waiting = { request, listener };
    if (request.nodes.length === 0) {
      listener({ positions: new Map(), done: true });
      return;
    }
    if (suitsElk(request)) {
      this.askElk(this.serial, request);
    } else {
      this.askForce(this.serial, request);
    }
  }

  close(): void {
    this.serial++;
    this.waiting = null;
    this.worker?.terminate();
    this.elk?.terminateWorker();
    this.worker = null;
    this.elk = null;
  }

  private askElk(serial: number, request: LayoutRequest): void {
    try {
      this.elk ??= new ElkApi({
        workerFactory: spawnElk,
      });
    } catch {
      this.askForce(serial, request);
      return;
    }
    elkPlaces(this.elk, request).then(
      (places) => this.hear({ serial, places, done: true }),
      () => {
        if (serial === this.serial) {
          this.askForce(serial, request);
        }
      }
    );
  }

  private askForce(serial: number, request: LayoutRequest): void {
    const worker = this.forceWorker();
    if (!worker) {
      this.here(serial, new ForceLayout(request));
      return;
    }
    const question: LayoutQuestion = { serial, request };
    worker.postMessage(question);
  }

  /** Null where the page's content security policy, or a proxy's, forbids workers. */
  private forceWorker(): Worker | null {
    if (this.workerRefused) {
      return null;
    }
    try {
      if (!this.worker) {
        this.worker = spawnForce();
        this.worker.onmessage = ({ data }: MessageEvent<LayoutReply>) => this.hear(data);
        this.worker.onerror = (event) => {
          event.preventDefault();
          this.refuse();
        };
      }
      return this.worker;
    } catch {
      this.workerRefused = true;
      return null;
    }
  }

  private refuse(): void {
    this.workerRefused = true;
    this.worker?.terminate();
    this.worker = null;
    if (this.waiting) {
      this.here(this.serial, new ForceLayout(this.waiting.request));
    }
  }

  private here(serial: number, layout: ForceLayout): void {
    const turn = (): void => {
      if (serial !== this.serial) {
        return;
      }
      const done = layout.advance(TICKS_A_TURN);
      this.hear({ serial, places: layout.places(), done });
      if (!done) {
        setTimeout(turn, 0);
      }
    };
    turn();
  }

  private hear(reply: LayoutReply): void {
    if (reply.serial !== this.serial || !this.waiting) {
      return;
    }
    const positions: Positions = new Map();
    this.waiting.request.nodes.forEach((node, at) => {
      positions.set(node.id, { x: reply.places[2 * at] ?? 0, y: reply.places[2 * at + 1] ?? 0 });
    });
    this.waiting.listener({ positions, done: reply.done });
  }
}
