// The page: a call from the form or from the address, its figures on the screen and under `window.remotemedia`.

import { Call, bitrateFor } from './call.js';
import { figures } from './figures.js';
import { Journeys } from './journeys.js';
import { Look } from './look.js';
import { Returned } from './returned.js';
import { parseSize, pipelinesFrom, settingsFrom } from './settings.js';
import { Source } from './source.js';
import * as view from './view.js';
import { CallError, explain, nodeState } from './words.js';

/** How often figures are taken and shown (chosen): twice a second is as fast as a person reads. */
const REFRESH_MS = 500;
/** How long a passing fault is told of (chosen): the router repeats what lasts. */
const PASSING_MS = 6000;

/** What belongs to one call, from the click to the end. */
let current = null;
let heard = false;

const page = {
  state: 'idle',
  error: null,
  notice: '',
  start,
  hangUp,
  stats,
};
window.remotemedia = page;

view.controls({ start, hangUp, mute: (on) => current?.source?.mute(on), listen: hear });
window.addEventListener('pagehide', hangUp);
const settings = settingsFrom(location.search);
view.preset(settings);
await listPipelines();
if (settings.auto) start();

async function start() {
  if (current) return;
  const chosen = view.choices();
  const mine = { chosen, journeys: new Journeys(), began: performance.now(), looks: { sent: new Look(), returned: new Look() }, session: {}, report: null, peak: 0, guests: new Map(), notices: {} };
  current = mine;
  page.error = null;
  view.message('error', '');
  notice(mine);
  view.waiting('Waiting for the first picture…');
  enter('media');
  try {
    const size = parseSize(chosen.size);
    if (!size) throw new CallError('bad_size', 'This picture size cannot be sent.');
    mine.audio = new AudioContext({ latencyHint: 'interactive' });
    // Without a click it may stay suspended; then there is no test sound, and pictures flow all the same.
    mine.audio.resume().catch(() => {});
    const source = await Source.open({ kind: chosen.source, ...size, canvas: view.sentCanvas(), journeys: mine.journeys, audio: mine.audio });
    if (current !== mine) {
      source.stop();
      return;
    }
    mine.source = source;
    notice(mine, 'source', source.notice);
    mine.returned = new Returned(view.returnedVideo(), mine.journeys);
    mine.began = performance.now();
    mine.call = new Call({
      url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`,
      session: chosen.session,
      pipeline: chosen.pipeline,
      codec: chosen.codec,
      bitrate: bitrateFor(size.width, size.height),
      stream: mine.source.stream,
    });
    mine.call.onstate = (state) => entered(mine, state);
    mine.call.onerror = (error) => failed(mine, error);
    mine.call.onnotice = (text) => notice(mine, 'call', text);
    mine.call.ontrack = (stream) => arrived(mine, stream);
    mine.call.onuntrack = (stream) => left(mine, stream);
    mine.call.onevent = (event) => told(mine, event);
    mine.timer = setInterval(() => refresh(mine), REFRESH_MS);
    await mine.call.start();
  } catch (error) {
    failed(mine, error);
  }
}

function hangUp() {
  if (!current) return;
  if (current.call) current.call.hangUp();
  else {
    release(current);
    enter('ended');
  }
}

function hear(on) {
  heard = on;
  view.hear(on);
}

function entered(mine, state) {
  if (current !== mine) return;
  if (state === 'ended' || state === 'failed') release(mine);
  enter(state);
}

function failed(mine, error) {
  const words = explain(error);
  console.warn(`${words.code}:`, error);
  page.error = words;
  view.message('error', words.text);
  if (current !== mine) return;
  release(mine);
  enter('failed');
}

function release(mine) {
  clearInterval(mine.timer);
  mine.last = summary(mine);
  page.last = mine.last;
  mine.source?.stop();
  mine.returned?.stop();
  for (const stream of mine.guests.values()) view.guest(stream, false);
  mine.audio?.close();
  mine.notices = {};
  notice(mine);
  view.level(0);
  view.waiting(mine.returned?.frames > 0 ? 'The call is over' : 'No picture came back');
  current = null;
}

function arrived(mine, stream) {
  if (current !== mine) return;
  // The first stream is the one to look at closely; in a session of several the others stand beside it.
  mine.main ??= stream;
  if (stream.id === mine.main.id) {
    mine.returned.follow(stream, mine.audio);
    view.hear(heard);
  } else {
    mine.guests.set(stream.id, stream);
    view.guest(stream, true);
  }
}

function left(mine, stream) {
  if (current !== mine || stream.getTracks().length > 0) return;
  if (mine.guests.delete(stream.id)) {
    view.guest(stream, false);
    return;
  }
  // The next one takes the place.
  const [next] = mine.guests.values();
  mine.main = next;
  if (!next) {
    view.waiting('Nobody’s picture is here at the moment');
    return;
  }
  mine.guests.delete(next.id);
  view.guest(next, false);
  mine.returned.follow(next, mine.audio);
}

function told(mine, event) {
  if (current !== mine) return;
  if (event.event === 'stages') {
    mine.session = event;
  } else if (event.event === 'video_paused') {
    notice(mine, 'paused', event.reason ? `The router paused the picture: ${event.reason}.` : '');
  } else if (event.event === 'session.node_state') {
    mine.nodes = { ...mine.nodes, [event.node]: event };
    mine.passing = performance.now() + PASSING_MS;
    notice(mine, 'node', nodeState(event));
  }
}

async function refresh(mine) {
  if (mine.call?.pc && mine.call.state !== 'ended') {
    const report = await mine.call.pc.getStats();
    if (current !== mine) return;
    mine.report = figures(report, mine.report?.counters);
  }
  if (performance.now() > mine.passing) notice(mine, 'node', '');
  const video = view.returnedVideo();
  mine.seen = {
    sent: mine.looks.sent.at(view.sentCanvas(), view.sentCanvas().width, view.sentCanvas().height),
    returned: mine.returned.frames > 0 ? mine.looks.returned.at(video, video.videoWidth, video.videoHeight) : null,
  };
  mine.sound = mine.returned.hear();
  mine.peak = Math.max(mine.peak, mine.sound.peak);
  show(mine);
}

function show(mine) {
  const { journeys, returned, report, session } = mine;
  const percentiles = journeys.percentiles();
  const firstMs = returned.firstAt === null ? NaN : returned.firstAt - mine.began;
  if (returned.frames > 0) view.waiting('');
  else if (page.state === 'live' && !mine.main && mine.chosen.session) view.waiting('Nobody else is in this session yet');
  view.roundTrip({ percentiles, returned: journeys.returned, sent: journeys.sent, firstMs, latencies: journeys.latencies });
  view.stages(session.video, percentiles?.p50 ?? null);
  view.workers(session.workers ?? [], session.dropped);
  view.level(mine.sound.level);
  if (report) view.connection(report);
  view.returnedNote(session.pipeline ? `through ${session.pipeline}` : '');
}

/** Everything that is known of the call under way, or of the last one. */
function stats() {
  return current ? summary(current) : (page.last ?? { state: page.state, error: page.error });
}

function summary(mine) {
  const { journeys, returned, report } = mine;
  const video = view.returnedVideo();
  return {
    state: page.state,
    error: page.error,
    notice: page.notice,
    frames: {
      sent: journeys.sent,
      shown: returned?.frames ?? 0,
      returned: journeys.returned,
      unreadable: journeys.unreadable,
      foreign: journeys.foreign,
      repeated: journeys.repeated,
      outOfOrder: journeys.outOfOrder,
    },
    latency: journeys.percentiles(),
    firstFrameMs: returned?.firstAt == null ? null : returned.firstAt - mine.began,
    sent: mine.seen?.sent ?? null,
    returned: mine.seen?.returned ? { ...mine.seen.returned, width: video.videoWidth, height: video.videoHeight } : null,
    audio: { level: mine.sound?.level ?? 0, peak: mine.peak, context: mine.audio?.state ?? 'none' },
    streams: (mine.main ? 1 : 0) + mine.guests.size,
    connection: report ? { out: report.out, in: report.in, path: report.path } : null,
    session: mine.session,
    nodes: mine.nodes ?? {},
  };
}

/** Takes down what one part of the call has to say, and shows what all of them say. */
function notice(mine, of, text) {
  if (of) mine.notices[of] = text;
  page.notice = Object.values(mine.notices).filter(Boolean).join(' ');
  view.message('notice', page.notice);
}

function enter(state) {
  page.state = state;
  view.state(state);
}

async function listPipelines() {
  try {
    const answer = await fetch('/api/pipelines', { headers: { accept: 'application/json' } });
    if (answer.ok) view.pipelines(pipelinesFrom(await answer.json()));
  } catch {
    // The router tells on the call itself what is wrong; its default pipeline can be had without the list.
  }
  if (settings.pipeline) view.preset({ pipeline: settings.pipeline });
}
