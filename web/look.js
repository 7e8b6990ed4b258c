// Figures of a picture: how colourful it is, how much fine detail it has, how much it moves.

import { ROWS, cellSize, luma } from './strip.js';

const THUMB = { width: 96, height: 54 };
const CROP = { width: 128, height: 72 };

/** Mean distance between a pixel's strongest and weakest colour, 0 (gray) to 255. */
export function chroma(pixels) {
  let sum = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    sum += Math.max(pixels[i], pixels[i + 1], pixels[i + 2]) - Math.min(pixels[i], pixels[i + 1], pixels[i + 2]);
  }
  return sum / (pixels.length / 4);
}

/** Mean strength of the second difference of brightness along rows and columns: what a blur takes away. */
export function detail(pixels, width, height) {
  let sum = 0;
  let count = 0;
  const at = (x, y) => luma(pixels, (y * width + x) * 4);
  for (let y = 1; y < height - 1; y += 1) {
    for (let x = 1; x < width - 1; x += 1) {
      const twice = 2 * at(x, y);
      sum += Math.abs(at(x - 1, y) - twice + at(x + 1, y)) + Math.abs(at(x, y - 1) - twice + at(x, y + 1));
      count += 2;
    }
  }
  return count ? sum / count : 0;
}

/** Mean change of brightness between two pictures of one size. */
export function motion(before, now) {
  let sum = 0;
  for (let i = 0; i < now.length; i += 4) sum += Math.abs(luma(now, i) - luma(before, i));
  return sum / (now.length / 4);
}

/** Looks at a video or canvas again and again. */
export class Look {
  #thumb = scratch(THUMB);
  #crop = scratch(CROP);
  #before = null;

  /** Figures of the picture as it stands, the strip left out; null while there is none. */
  at(picture, width, height) {
    const strip = cellSize(width) * ROWS;
    if (!(width > 0) || !(height > strip)) return null;
    this.#thumb.drawImage(picture, 0, strip, width, height - strip, 0, 0, THUMB.width, THUMB.height);
    const thumb = this.#thumb.getImageData(0, 0, THUMB.width, THUMB.height).data;
    // The middle, pixel by pixel: scaling would take the detail away.
    const left = Math.max(0, Math.floor((width - CROP.width) / 2));
    const top = Math.max(0, Math.floor((height - CROP.height) / 2));
    this.#crop.drawImage(picture, left, top, CROP.width, CROP.height, 0, 0, CROP.width, CROP.height);
    const crop = this.#crop.getImageData(0, 0, CROP.width, CROP.height).data;
    const seen = {
      chroma: chroma(thumb),
      detail: detail(crop, CROP.width, CROP.height),
      motion: this.#before ? motion(this.#before, thumb) : 0,
    };
    this.#before = thumb;
    return seen;
  }
}

function scratch({ width, height }) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext('2d', { alpha: false, willReadFrequently: true });
}
