// SPDX-License-Identifier: Apache-2.0
/** The force layouts in a thread of their own. A new question ends the one before. */
import { ForceLayout } from './force';
import type { LayoutQuestion, LayoutReply } from './model';

const FIRST_TICKS = 10;
const TICKS_A_TURN = 20;

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<LayoutQuestion>) => void) | null;
  postMessage: (reply: LayoutReply, transfer: Transferable[]) => void;
};

let newest = -1;

scope.onmessage = ({ data }) => {
  newest = data.serial;
  const layout = new ForceLayout(data.request);
  const turn = (ticks: number): void => {
    if (newest !== data.serial) {
      return;
    }
    const done = layout.advance(ticks);
    const places = layout.places();
    scope.postMessage({ serial: data.serial, places, done }, [places.buffer]);
    if (!done) {
      setTimeout(() => turn(TICKS_A_TURN), 0);
    }
  };
  turn(FIRST_TICKS);
};
