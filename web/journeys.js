// When each numbered frame was sent, and how long it took until it came back.

import { NUMBERS } from './strip.js';

/** Frames that are remembered (chosen): 40 s at 30 a second; an older one that comes back is not ours any more. */
const REMEMBERED = 1200;
/** Latencies that percentiles are taken of (chosen): the last ten seconds at 30 a second. */
const WINDOW = 300;

export class Journeys {
  #sent = new Map();
  #latencies = [];
  #next = 0;
  #last = -1;
  returned = 0;
  unreadable = 0;
  foreign = 0;
  repeated = 0;
  outOfOrder = 0;

  /** Frames sent so far. */
  get sent() {
    return this.#next;
  }

  /** Takes down that a frame leaves now; gives its number. */
  depart(time, at) {
    const number = this.#next % NUMBERS;
    this.#next += 1;
    this.#sent.set(number, { time, at });
    if (this.#sent.size > REMEMBERED) this.#sent.delete(this.#sent.keys().next().value);
    return number;
  }

  /** Takes a returned frame's code (null: none could be read); gives its latency in milliseconds where it is ours. */
  arrive(code, at) {
    if (!code) {
      this.unreadable += 1;
      return null;
    }
    const sent = this.#sent.get(code.number);
    // The time tells another page's frame of the same number apart.
    if (!sent || sent.time !== code.time) {
      this.foreign += 1;
      return null;
    }
    if (code.number === this.#last) {
      this.repeated += 1;
      return null;
    }
    const step = (code.number - this.#last + NUMBERS) % NUMBERS;
    if (this.#last >= 0 && step > NUMBERS / 2) this.outOfOrder += 1;
    else this.#last = code.number;
    this.returned += 1;
    const latency = at - sent.at;
    this.#latencies.push(latency);
    if (this.#latencies.length > WINDOW) this.#latencies.shift();
    return latency;
  }

  /** The latest ones, oldest first. */
  get latencies() {
    return this.#latencies;
  }

  /** Latency percentiles of the last seconds, or null while there are none. */
  percentiles() {
    return this.#latencies.length ? { p50: percentile(this.#latencies, 0.5), p95: percentile(this.#latencies, 0.95) } : null;
  }
}

/** The smallest value that this share of all values does not exceed. */
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}
