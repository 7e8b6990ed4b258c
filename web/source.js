// What this page sends: camera and microphone or the test card, drawn to a canvas, each frame stamped with its code.

import { stamp, timeCode } from './strip.js';
import { drawTestCard, testSound } from './testcard.js';
import { CallError } from './words.js';

export const FRAME_RATE = 30;

export class Source {
  #canvas;
  #context;
  #journeys;
  #stops = [];
  #draw = () => {};
  /** What goes to the router: one picture track, one sound track. */
  stream;
  /** In words, what stands in for a missing camera or microphone; empty where nothing does. */
  notice = '';

  /**
   * Opens the source. `kind` is `camera` or `test`; the camera's place is taken by the test card where there is none.
   * Throws what getUserMedia throws when the person says no.
   */
  static async open({ kind, width, height, canvas, journeys, audio }) {
    const source = new Source(canvas, width, height, journeys);
    try {
      const devices = kind === 'camera' ? await openDevices(width, height) : {};
      if (kind === 'camera') source.notice = standIns(devices);
      const sound = devices.sound ?? source.#testSound(audio);
      if (devices.picture) await source.#showCamera(devices.picture);
      else source.#showTestCard();
      for (const track of [devices.picture, devices.sound]) if (track) source.#stops.push(() => track.stop());
      source.stream = canvas.captureStream(FRAME_RATE);
      const [picture] = source.stream.getVideoTracks();
      // Without a hint Chromium lowers the size of the picture for long on a small machine.
      picture.contentHint = 'motion';
      source.stream.addTrack(sound);
      source.#stops.push(() => picture.stop());
      return source;
    } catch (error) {
      source.stop();
      throw error;
    }
  }

  constructor(canvas, width, height, journeys) {
    canvas.width = width;
    canvas.height = height;
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d', { alpha: false });
    this.#journeys = journeys;
  }

  /** Silences the sound that is sent, or lets it through. */
  mute(muted) {
    for (const track of this.stream.getAudioTracks()) track.enabled = !muted;
  }

  /** Ends everything; the camera's light goes out. */
  stop() {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #testSound(audio) {
    const sound = testSound(audio);
    this.#stops.push(() => sound.stop());
    return sound.track;
  }

  #showTestCard() {
    const began = performance.now();
    this.#draw = () => drawTestCard(this.#context, this.#canvas.width, this.#canvas.height, performance.now() - began);
    this.#frame();
    const ticker = new Worker(new URL('ticker.js', import.meta.url));
    ticker.onmessage = () => this.#frame();
    ticker.postMessage(FRAME_RATE);
    this.#stops.push(() => ticker.terminate());
  }

  async #showCamera(track) {
    const camera = document.createElement('video');
    camera.muted = true;
    camera.playsInline = true;
    camera.srcObject = new MediaStream([track]);
    await camera.play();
    let running = true;
    this.#stops.push(() => {
      running = false;
      camera.srcObject = null;
    });
    this.#draw = () => drawCovering(this.#context, this.#canvas, camera);
    const each = () => {
      if (!running) return;
      this.#frame();
      camera.requestVideoFrameCallback(each);
    };
    each();
  }

  #frame() {
    this.#draw();
    const now = performance.now();
    const time = timeCode(now);
    stamp(this.#context, this.#canvas.width, this.#journeys.depart(time, now), time);
  }
}

/** What there is of camera and microphone; throws when the person, the browser or the system says no. */
async function openDevices(width, height) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CallError('insecure_page', 'Browsers give camera and microphone only to pages from localhost or over https. Choose the test picture, or open this page by one of those.');
  }
  const kinds = new Set((await navigator.mediaDevices.enumerateDevices()).map((device) => device.kind));
  const picture = kinds.has('videoinput') && { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: FRAME_RATE } };
  const sound = kinds.has('audioinput') && { echoCancellation: true, noiseSuppression: false, autoGainControl: true };
  if (!picture && !sound) return {};
  const stream = await navigator.mediaDevices.getUserMedia({ video: picture, audio: sound });
  return { picture: stream.getVideoTracks()[0], sound: stream.getAudioTracks()[0] };
}

function standIns({ picture, sound }) {
  if (!picture && !sound) return 'No camera and no microphone were found: sending the test picture and sound.';
  if (!picture) return 'No camera was found: sending the test picture with your microphone.';
  if (!sound) return 'No microphone was found: sending the test sound with your camera.';
  return '';
}

/** Fills the canvas with the middle of the video. */
function drawCovering(context, canvas, video) {
  const scale = Math.max(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
  const width = video.videoWidth * scale;
  const height = video.videoHeight * scale;
  context.drawImage(video, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}
