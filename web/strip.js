// The code strip: a frame's number and time as 64 squares at the top of its picture, which survive encoding and blur.
//
// Two rows of 32 squares over the full width, white is 1 and black 0; 24 bits number, 32 bits time in units of 100 µs,
// 8 bits CRC, the most significant first. The probe (`remotemedia peer`) writes and reads the same layout.

export const COLUMNS = 32;
export const ROWS = 2;
/** Numbers and times wrap here. */
export const NUMBERS = 2 ** 24;
export const TIMES = 2 ** 32;
/** Less than this between the darkest and the brightest square (of 255) is no strip. */
export const MIN_CONTRAST = 40;

/** The side of one square in a picture of this width. */
export function cellSize(width) {
  return Math.floor(width / COLUMNS);
}

/** A time of the page's clock (milliseconds) as the strip carries it. */
export function timeCode(ms) {
  return Math.floor(ms * 10) % TIMES;
}

/** The 64 bits of a strip, left to right, upper row first. */
export function encode(number, time) {
  const bytes = payload(number, time);
  bytes.push(crc8(bytes));
  return bytes.flatMap((byte) => [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => (byte >> bit) & 1));
}

/** What 64 bits say, or null where their CRC does not fit. */
export function decode(bits) {
  const bytes = [];
  for (let i = 0; i < 8; i += 1) {
    bytes.push(bits.slice(i * 8, i * 8 + 8).reduce((byte, bit) => byte * 2 + bit, 0));
  }
  if (crc8(bytes.slice(0, 7)) !== bytes[7]) return null;
  const number = bytes[0] * 65536 + bytes[1] * 256 + bytes[2];
  const time = ((bytes[3] * 256 + bytes[4]) * 256 + bytes[5]) * 256 + bytes[6];
  return { number, time };
}

/** Paints the strip over the top of a canvas. */
export function stamp(context, width, number, time) {
  const cell = cellSize(width);
  const bits = encode(number, time);
  context.fillStyle = '#000';
  context.fillRect(0, 0, cell * COLUMNS, cell * ROWS);
  context.fillStyle = '#fff';
  bits.forEach((bit, place) => {
    if (bit) context.fillRect((place % COLUMNS) * cell, Math.floor(place / COLUMNS) * cell, cell, cell);
  });
}

/**
 * Reads a strip out of RGBA pixels of which it fills the whole: `cell` pixels a square, rows of `COLUMNS * cell`.
 * Only the middle half of each square counts: its borders are smeared by encoding.
 */
export function read(pixels, cell) {
  const width = COLUMNS * cell;
  const from = Math.floor(cell / 4);
  const to = Math.max(from + 1, Math.ceil((cell * 3) / 4));
  const levels = [];
  for (let row = 0; row < ROWS; row += 1) {
    for (let column = 0; column < COLUMNS; column += 1) {
      let sum = 0;
      for (let y = from; y < to; y += 1) {
        for (let x = from; x < to; x += 1) {
          sum += luma(pixels, ((row * cell + y) * width + column * cell + x) * 4);
        }
      }
      levels.push(sum / (to - from) ** 2);
    }
  }
  const dark = Math.min(...levels);
  const bright = Math.max(...levels);
  if (!(bright - dark >= MIN_CONTRAST)) return null;
  return decode(levels.map((level) => (level > (dark + bright) / 2 ? 1 : 0)));
}

/** Brightness of the pixel at this index of RGBA data, 0 to 255. */
export function luma(pixels, index) {
  return 0.299 * pixels[index] + 0.587 * pixels[index + 1] + 0.114 * pixels[index + 2];
}

function payload(number, time) {
  const n = number % NUMBERS;
  const t = time % TIMES;
  return [n >>> 16, (n >>> 8) & 255, n & 255, Math.floor(t / 2 ** 24), (t >>> 16) & 255, (t >>> 8) & 255, t & 255];
}

/** CRC-8 with the polynomial 0x07, beginning at 0. */
export function crc8(bytes) {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 128 ? ((crc << 1) ^ 7) & 255 : crc << 1;
  }
  return crc;
}
