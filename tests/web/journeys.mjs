// What became of the frames that a page sent.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Journeys, percentile } from '../../web/journeys.js';

test('a frame that comes back tells how long it was away', () => {
  const journeys = new Journeys();
  const number = journeys.depart(1000, 100);
  assert.equal(journeys.arrive({ number, time: 1000 }, 142), 42);
  assert.deepEqual(journeys.percentiles(), { p50: 42, p95: 42 });
});

test('a frame of another page, an unreadable one and one shown twice do not count', () => {
  const journeys = new Journeys();
  const number = journeys.depart(1000, 100);
  assert.equal(journeys.arrive({ number, time: 999 }, 142), null);
  assert.equal(journeys.arrive({ number: 5, time: 1000 }, 142), null);
  assert.equal(journeys.arrive(null, 142), null);
  assert.equal(journeys.arrive({ number, time: 1000 }, 142), 42);
  assert.equal(journeys.arrive({ number, time: 1000 }, 175), null);
  assert.deepEqual(
    [journeys.returned, journeys.foreign, journeys.unreadable, journeys.repeated],
    [1, 2, 1, 1],
  );
});

test('frames that overtake each other are counted', () => {
  const journeys = new Journeys();
  for (let i = 0; i < 3; i += 1) journeys.depart(i, i);
  for (const number of [0, 2, 1]) journeys.arrive({ number, time: number }, 50);
  assert.equal(journeys.outOfOrder, 1);
});

test('what is remembered does not grow with the call', () => {
  const journeys = new Journeys();
  for (let i = 0; i < 5000; i += 1) {
    const number = journeys.depart(i, i);
    journeys.arrive({ number, time: i }, i + 40);
  }
  assert.equal(journeys.latencies.length, 300);
  assert.equal(journeys.arrive({ number: 10, time: 10 }, 6000), null, 'long forgotten');
  assert.equal(journeys.returned, 5000);
});

test('percentiles are values that occurred', () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(values, 0.5), 50);
  assert.equal(percentile(values, 0.95), 95);
  assert.equal(percentile([7], 0.95), 7);
});
