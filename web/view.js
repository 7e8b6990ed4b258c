// What a person sees: the only place that touches the document.

import { shares, widths } from './stages.js';

const STATES = {
  idle: 'Ready',
  media: 'Asking for the camera…',
  signaling: 'Calling the router…',
  connecting: 'Connecting…',
  live: 'In a call',
  ended: 'Call ended',
  failed: 'Call failed',
};

const NODE_TONES = ['', 'second', 'third'];

const byId = (id) => document.getElementById(id);
const write = (id, text) => {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
};

export const sentCanvas = () => byId('sent');
export const returnedVideo = () => byId('returned');

/** What is chosen in the form. */
export function choices() {
  const value = (id) => byId(id).value;
  return { source: value('source'), pipeline: value('pipeline'), codec: value('codec'), size: value('size'), session: value('session').trim() };
}

/** Presets the form; null leaves a field as it is. */
export function preset(settings) {
  for (const id of ['source', 'pipeline', 'codec', 'size', 'session']) {
    const value = settings[id];
    if (!value) continue;
    const field = byId(id);
    const known = field.tagName !== 'SELECT' || [...field.options].some((option) => option.value === value);
    // A size or pipeline that is only in the address is chosen as well; the router says if it does not have it.
    if (!known) field.add(new Option(value, value));
    field.value = value;
  }
}

/** Fills the list of pipelines; the first is the router's default. */
export function pipelines(list) {
  if (list.length === 0) return;
  const field = byId('pipeline');
  const chosen = field.value;
  const options = list.map(({ name }, index) => new Option(index === 0 && name !== 'default' ? `${name} (default)` : name, name));
  field.replaceChildren(...options);
  if (chosen) preset({ pipeline: chosen });
  const tell = () => write('summary', list.find(({ name }) => name === field.value)?.summary ?? '');
  field.addEventListener('change', tell);
  tell();
}

/** Connects the controls. */
export function controls({ start, hangUp, mute, listen }) {
  byId('choices').addEventListener('submit', (event) => {
    event.preventDefault();
    start();
  });
  byId('hangup').addEventListener('click', hangUp);
  for (const [id, act] of [['mute', mute], ['listen', listen]]) {
    byId(id).addEventListener('click', () => {
      const on = byId(id).getAttribute('aria-pressed') !== 'true';
      byId(id).setAttribute('aria-pressed', String(on));
      act(on);
    });
  }
}

/** Shows the call's state and the controls that go with it. */
export function state(name) {
  const running = ['media', 'signaling', 'connecting', 'live'].includes(name);
  write('state', STATES[name]);
  byId('state').dataset.state = name;
  const focused = document.activeElement;
  byId('fields').disabled = running;
  byId('start').hidden = running;
  byId('hangup').hidden = !running;
  byId('mute').disabled = !running;
  if (!running) byId('mute').setAttribute('aria-pressed', 'false');
  // Whoever works by keyboard stays at the button that took the other's place.
  if (focused === byId('start') && running) byId('hangup').focus();
  if (focused === byId('hangup') && !running) byId('start').focus();
}

/** Shows an error or a notice in words; an empty text takes it away. */
export function message(id, text) {
  write(id, text);
  byId(id).hidden = text === '';
}

/** Shows or hides the cover over the returned picture. */
export function waiting(text) {
  write('waiting', text);
  byId('waiting').hidden = text === '';
}

/** Adds a picture of another member of the session, or takes it away. */
export function guest(stream, present) {
  const id = `guest-${stream.id}`;
  const there = byId(id);
  if (!present) {
    there?.remove();
    return;
  }
  if (there) return;
  const figure = document.createElement('figure');
  figure.id = id;
  const caption = document.createElement('figcaption');
  caption.textContent = `Also in this session: ${stream.id}`;
  const screen = document.createElement('div');
  screen.className = 'screen';
  const video = document.createElement('video');
  video.playsInline = true;
  video.autoplay = true;
  video.muted = byId('returned').muted;
  video.srcObject = stream;
  video.setAttribute('aria-label', 'Another member’s picture');
  screen.append(video);
  figure.append(caption, screen);
  byId('pictures').append(figure);
}

/** Lets all returned sound be heard, or not. */
export function hear(on) {
  for (const video of byId('pictures').querySelectorAll('video')) video.muted = !on;
}

const NONE = '–';
const ms = (value) => (Number.isFinite(value) ? (value < 10 ? value.toFixed(1) : value.toFixed(0)) : NONE);
const percent = (value) => (Number.isFinite(value) ? `${(value * 100).toFixed(1)} %` : NONE);
const kilo = (value) => (Number.isFinite(value) ? (value / 1000).toFixed(0) : NONE);

/** Round-trip figures and the curve of the latest frames. */
export function roundTrip({ percentiles, returned, sent, firstMs, latencies }) {
  write('p50', ms(percentiles?.p50));
  write('p95', ms(percentiles?.p95));
  write('frames', sent > 0 ? `${returned}/${sent}` : NONE);
  write('first', ms(firstMs));
  const highest = Math.max(1, ...latencies);
  const points = latencies.map((value, index) => `${(300 * (index + 300 - latencies.length)) / 300},${(58 - (value / highest) * 54).toFixed(1)}`);
  byId('spark-line').setAttribute('points', points.join(' '));
  write('spark-scale', latencies.length ? `The curve’s top is ${ms(highest)} ms.` : '');
}

/** The stages as a bar and a table. */
export function stages(message, roundTripMs) {
  const rows = shares(message, roundTripMs);
  if (rows.length === 0) return;
  const part = widths(rows);
  let nodes = 0;
  const look = rows.map(({ key }) => {
    if (!key.startsWith('node:')) return key;
    nodes += 1;
    return `node ${NODE_TONES[(nodes - 1) % NODE_TONES.length]}`;
  });
  byId('bar').replaceChildren(
    ...rows.map((row, index) => {
      const piece = document.createElement('i');
      piece.className = look[index];
      piece.style.width = `${part[index]}%`;
      piece.title = `${row.label}: ${ms(row.p50)} ms`;
      return piece;
    }),
  );
  byId('bar').setAttribute('aria-label', rows.map((row) => `${row.label}: ${ms(row.p50)} ms`).join('; '));
  byId('stages').replaceChildren(
    ...rows.map((row, index) => {
      const name = document.createElement('th');
      name.scope = 'row';
      const swatch = document.createElement('i');
      swatch.className = `swatch ${look[index]}`;
      name.append(swatch, row.label);
      return line(name, cell(ms(row.p50)), cell(ms(row.p95)));
    }),
  );
}

/** The connection's figures. */
export function connection({ out, in: back, path }) {
  const size = ({ width, height }) => (width && height ? `${width}×${height}` : NONE);
  const fps = (value) => (Number.isFinite(value) ? value.toFixed(0) : NONE);
  write('out-size', size(out.video));
  write('in-size', size(back.video));
  write('out-fps', fps(out.video.fps));
  write('in-fps', fps(back.video.fps));
  write('out-codec', out.video.codec ?? NONE);
  write('in-codec', back.video.codec ?? NONE);
  write('out-rate', kilo(out.video.bitrate));
  write('in-rate', kilo(back.video.bitrate));
  write('out-loss', percent(out.video.loss));
  write('in-loss', percent(back.video.loss));
  write('out-audio', kilo(out.audio.bitrate));
  write('in-audio', kilo(back.audio.bitrate));
  write('out-audio-loss', percent(out.audio.loss));
  write('in-audio-loss', percent(back.audio.loss));
  write('rtt', Number.isFinite(path.roundTripMs) ? `${ms(path.roundTripMs)} ms` : NONE);
  write('sent-note', out.video.limited && out.video.limited !== 'none' ? `made smaller by the browser: ${out.video.limited}` : '');
}

/** The session's processes and what they dropped. */
export function workers(list, dropped) {
  if (list.length > 0) {
    byId('workers').replaceChildren(
      ...list.map(({ name, role, pid, generation, state: how }) => {
        const who = document.createElement('th');
        who.scope = 'row';
        who.textContent = name ?? role;
        const last = document.createElement('td');
        last.textContent = how ?? NONE;
        return line(who, cell(pid ?? NONE), cell(generation ?? NONE), last);
      }),
    );
  }
  const reasons = Object.entries(dropped ?? {}).filter(([, count]) => count > 0);
  write('dropped', reasons.length ? `Frames dropped: ${reasons.map(([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`).join(', ')}.` : '');
}

/** How loud the returned sound is, 0 to 1. */
export function level(value) {
  // Loudness is heard by its logarithm: 60 dB over the whole width.
  const decibels = value > 0 ? 20 * Math.log10(value) : -60;
  byId('level').style.width = `${Math.max(0, Math.min(100, ((decibels + 60) / 60) * 100))}%`;
}

export function returnedNote(text) {
  write('returned-note', text);
}

function line(...cells) {
  const row = document.createElement('tr');
  row.append(...cells);
  return row;
}

function cell(text) {
  const element = document.createElement('td');
  element.className = 'number';
  element.textContent = text;
  return element;
}
