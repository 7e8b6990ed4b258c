// The code strip as the page writes and reads it; the probe's Rust has the same bits.

import assert from 'node:assert/strict';
import test from 'node:test';
import { COLUMNS, ROWS, cellSize, crc8, decode, encode, read, stamp, timeCode } from '../../web/strip.js';

/** A canvas of which only rectangles and pixels are used. */
function canvas(width, height) {
  const pixels = new Uint8ClampedArray(width * height * 4).fill(90);
  const context = {
    fillStyle: '#000',
    fillRect(left, top, w, h) {
      const value = context.fillStyle === '#fff' ? 255 : 0;
      for (let y = top; y < top + h; y += 1) {
        for (let x = left; x < left + w; x += 1) pixels.fill(value, (y * width + x) * 4, (y * width + x) * 4 + 3);
      }
    },
  };
  return { pixels, context };
}

const CASES = [
  [0, 1],
  [1, 1],
  [123456, 987654321],
  [2 ** 24 - 1, 2 ** 32 - 1],
];

test('the bits are the ones of the contract: number, time, CRC, most significant first', () => {
  const bits = encode(0x123456, 0x789abcde).join('');
  const hex = BigInt(`0b${bits}`).toString(16);
  assert.equal(hex.slice(0, 14), '123456789abcde');
  assert.equal(Number.parseInt(hex.slice(14), 16), crc8([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]));
});

test('the CRC is the one with polynomial 7 and no start value', () => {
  assert.equal(crc8([...'123456789'].map((c) => c.charCodeAt(0))), 0xf4);
});

test('a strip that was painted is read again, at every size', () => {
  for (const width of [160, 320, 321, 640, 1280, 1920]) {
    const cell = cellSize(width);
    for (const [number, time] of CASES) {
      const { pixels, context } = canvas(COLUMNS * cell, ROWS * cell);
      stamp(context, width, number, time);
      assert.deepEqual(read(pixels, cell), { number, time }, `${width} wide`);
    }
  }
});

test('a strip is read through blur, noise and a flat picture', () => {
  const cell = 10;
  const width = COLUMNS * cell;
  const { pixels, context } = canvas(width, ROWS * cell);
  stamp(context, 320, 4711, 123456789);
  const hurt = pixels.map((value, index) => {
    const [left, right] = [pixels[Math.max(0, index - 8)], pixels[Math.min(pixels.length - 1, index + 8)]];
    // Contrast falls to a third, each pixel is smeared with those two beside it, and is off by up to 12.
    return 80 + (value + left + right) / 9 + (((index * 7919) % 25) - 12);
  });
  assert.deepEqual(read(hurt, cell), { number: 4711, time: 123456789 });
});

test('no strip is seen where there is none', () => {
  const cell = 8;
  const flat = new Uint8ClampedArray(COLUMNS * ROWS * cell * cell * 4).fill(128);
  assert.equal(read(flat, cell), null);
  const noise = flat.map((_, index) => (index * 2654435761) % 256);
  assert.equal(read(noise, cell), null);
});

test('frame 0 at time 0 is black all over, and so no strip', () => {
  assert.deepEqual(encode(0, 0), Array(64).fill(0));
});

test('one wrong square is noticed, wherever it is', () => {
  const bits = encode(77, 88);
  for (let place = 0; place < 64; place += 1) {
    const wrong = bits.with ? bits.with(place, 1 - bits[place]) : bits.map((bit, at) => (at === place ? 1 - bit : bit));
    assert.equal(decode(wrong), null, `square ${place}`);
  }
});

test('times are tenths of milliseconds and wrap after five days', () => {
  assert.equal(timeCode(12.34), 123);
  assert.equal(timeCode(2 ** 32 / 10 + 5), 50);
});
