// From what the browser and the router count to what the page shows.

import assert from 'node:assert/strict';
import test from 'node:test';
import { figures } from '../../web/figures.js';
import { chroma, detail, motion } from '../../web/look.js';
import { shares, widths } from '../../web/stages.js';
import { parseSize, pipelinesFrom, settingsFrom } from '../../web/settings.js';

function report(at, bytes, packets, lost) {
  return new Map([
    ['o', { type: 'outbound-rtp', kind: 'video', timestamp: at, bytesSent: bytes, frameWidth: 320, frameHeight: 180, framesPerSecond: 30, codecId: 'c' }],
    ['i', { type: 'inbound-rtp', kind: 'video', timestamp: at, bytesReceived: bytes / 2, packetsReceived: packets, packetsLost: lost, codecId: 'c' }],
    ['c', { mimeType: 'video/VP9' }],
    ['p', { type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 0.002 }],
  ]);
}

test('rates and losses are those between two looks', () => {
  const first = figures(report(1000, 10_000, 100, 0));
  assert.equal(first.out.video.bitrate, null, 'one look gives no rate');
  const second = figures(report(2000, 110_000, 190, 10), first.counters);
  assert.equal(second.out.video.bitrate, 800_000);
  assert.equal(second.in.video.bitrate, 400_000);
  assert.equal(second.in.video.loss, 0.1);
  assert.equal(second.out.video.codec, 'VP9');
  assert.equal(second.path.roundTripMs, 2);
});

test('a connection that has no figures yet shows none', () => {
  const none = figures(new Map());
  assert.equal(none.out.video.width, null);
  assert.equal(none.in.video.loss, null);
  assert.equal(none.path.roundTripMs, null);
});

test('stages stand in the order of the way, and the rest of the round trip behind them', () => {
  const rows = shares(
    { sent: { p50: 1, p95: 2 }, decoded: { p50: 3, p95: 4 }, received: { p50: 0, p95: 0 }, 'node:blur': { p50: 5, p95: 6 }, assembled: { p50: 2, p95: 3 }, encoded: { p50: 4, p95: 5 }, odd: { p50: 9 } },
    60,
  );
  assert.deepEqual(rows.map(({ key }) => key), ['assembled', 'decoded', 'node:blur', 'encoded', 'sent', 'outside']);
  assert.equal(rows.at(-1).p50, 45);
  assert.equal(Math.round(widths(rows).reduce((a, b) => a + b)), 100);
});

test('stages without a round trip, and no stages at all, are shown as they are', () => {
  assert.deepEqual(shares(undefined, 40), []);
  assert.deepEqual(shares({ decoded: { p50: 3, p95: 4 } }).map(({ key }) => key), ['decoded']);
  assert.deepEqual(widths([{ p50: 0 }]), [0]);
});

test('a gray picture has no chroma, a blurred one little detail, a still one no motion', () => {
  const [width, height] = [16, 8];
  const paint = (colour) => Uint8ClampedArray.from({ length: width * height * 4 }, (_, index) => colour((index >> 2) % width, Math.floor((index >> 2) / width))[index % 4]);
  const stripes = paint((x) => (x % 2 ? [255, 0, 0, 255] : [0, 0, 255, 255]));
  const gray = paint((x) => Array(3).fill(x * 10).concat(255));
  assert.equal(chroma(gray), 0);
  assert.equal(chroma(stripes), 255);
  assert.ok(detail(gray, width, height) < 1, 'a slope has no second difference');
  assert.ok(detail(stripes, width, height) > 20);
  assert.equal(motion(gray, gray), 0);
  assert.ok(motion(gray, stripes) > 10);
});

test('the address may choose, but not nonsense', () => {
  assert.deepEqual(settingsFrom('?auto=1&codec=vp9&pipeline=grayscale&source=test&session=room-1&size=320x180'), {
    auto: true, codec: 'vp9', pipeline: 'grayscale', source: 'test', session: 'room-1', size: '320x180',
  });
  assert.deepEqual(settingsFrom('?codec=mpeg&pipeline=../x&source=disk&session=a b&size=9x9'), {
    auto: false, codec: null, pipeline: null, source: null, session: '', size: null,
  });
  assert.equal(parseSize('321x180'), null, 'odd sizes cannot be captured');
  assert.deepEqual(parseSize('1280x720'), { width: 1280, height: 720 });
});

test('the default pipeline stands first, however the list is written', () => {
  assert.deepEqual(pipelinesFrom(['a', 'b']).map(({ name }) => name), ['a', 'b']);
  assert.deepEqual(pipelinesFrom({ default: 'b', pipelines: [{ name: 'a' }, { name: 'b', summary: 's' }] }), [{ name: 'b', summary: 's' }, { name: 'a', summary: '' }]);
  assert.deepEqual(pipelinesFrom(null), []);
});
