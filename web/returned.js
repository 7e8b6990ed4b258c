// What comes back: each returned frame's code is read, and the sound's level is heard.

import { COLUMNS, ROWS, cellSize, read } from './strip.js';

/** Pixels of a square of the strip as it is read; the browser scales it down. */
const CELL = 8;

export class Returned {
  #video;
  #journeys;
  #context;
  #callback = 0;
  #analyser = null;
  #input = null;
  /** At 48 kHz 680 ms: looked at twice a second, nothing is missed. */
  #samples = new Float32Array(32768);
  /** Frames that were shown, whether their code could be read or not. */
  frames = 0;
  /** `performance.now()` of the first one. */
  firstAt = null;

  constructor(video, journeys) {
    this.#video = video;
    this.#journeys = journeys;
    const canvas = document.createElement('canvas');
    canvas.width = COLUMNS * CELL;
    canvas.height = ROWS * CELL;
    this.#context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  }

  /** Shows this stream and reads it from now on. */
  async follow(stream, audio) {
    if (this.#video.srcObject !== stream) {
      this.#video.srcObject = stream;
      // Without a click the browser may refuse sound: then without it.
      this.#video.play().catch(() => {
        this.#video.muted = true;
        this.#video.play().catch(() => {});
      });
      this.#watch();
    }
    this.#listen(stream, audio);
  }

  /** Loudness of what came in the latest 680 ms, 0 to 1: its root mean square and its greatest sample. */
  hear() {
    if (!this.#analyser) return { level: 0, peak: 0 };
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let [sum, peak] = [0, 0];
    for (const sample of this.#samples) {
      sum += sample * sample;
      peak = Math.max(peak, Math.abs(sample));
    }
    return { level: Math.sqrt(sum / this.#samples.length), peak };
  }

  stop() {
    this.#video.cancelVideoFrameCallback?.(this.#callback);
    this.#video.srcObject = null;
    this.#input?.disconnect();
    this.#analyser = null;
  }

  #watch() {
    if (!this.#video.requestVideoFrameCallback) return;
    const each = (now, frame) => {
      this.#frame(frame.presentationTime ?? now);
      this.#callback = this.#video.requestVideoFrameCallback(each);
    };
    this.#video.cancelVideoFrameCallback(this.#callback);
    this.#callback = this.#video.requestVideoFrameCallback(each);
  }

  #frame(at) {
    this.frames += 1;
    this.firstAt ??= at;
    const cell = cellSize(this.#video.videoWidth);
    if (cell === 0) return;
    this.#context.drawImage(this.#video, 0, 0, cell * COLUMNS, cell * ROWS, 0, 0, COLUMNS * CELL, ROWS * CELL);
    const { data } = this.#context.getImageData(0, 0, COLUMNS * CELL, ROWS * CELL);
    this.#journeys.arrive(read(data, CELL), at);
  }

  #listen(stream, audio) {
    if (stream.getAudioTracks().length === 0) return;
    this.#input?.disconnect();
    this.#input = audio.createMediaStreamSource(stream);
    this.#analyser = new AnalyserNode(audio, { fftSize: this.#samples.length });
    this.#input.connect(this.#analyser);
  }
}
