// What the address says about the call, checked; anything else is ignored and the page's own choice stands.

export const CODECS = ['vp8', 'vp9', 'h264'];
const ID = /^[A-Za-z0-9_-]{1,64}$/;

/** Reads `?auto=1&codec=vp9&pipeline=grayscale&source=test&session=NAME&size=320x180`. */
export function settingsFrom(search) {
  const given = new URLSearchParams(search);
  const one = (name, allowed) => (allowed(given.get(name) ?? '') ? given.get(name) : null);
  return {
    auto: given.get('auto') === '1',
    codec: one('codec', (text) => CODECS.includes(text)),
    pipeline: one('pipeline', (text) => ID.test(text)),
    source: one('source', (text) => text === 'test' || text === 'camera'),
    session: one('session', (text) => ID.test(text)) ?? '',
    size: one('size', (text) => parseSize(text) !== null),
  };
}

/** `320x180` as numbers, or null where it is no size that the strip fits into. */
export function parseSize(text) {
  const found = /^(\d{2,4})x(\d{2,4})$/.exec(text);
  if (!found) return null;
  const [width, height] = [Number(found[1]), Number(found[2])];
  const sides = width >= 160 && width <= 1920 && height >= 90 && height <= 1080;
  return sides && width % 2 === 0 && height % 2 === 0 ? { width, height } : null;
}

/** The pipelines as `GET /api/pipelines` lists them: `[{name, summary}]`, the default first. */
export function pipelinesFrom(answer) {
  const list = Array.isArray(answer) ? answer : (answer?.pipelines ?? []);
  const named = list
    .map((entry) => (typeof entry === 'string' ? { name: entry } : entry))
    .filter((entry) => typeof entry?.name === 'string')
    .map(({ name, summary, description, default: first }) => ({ name, summary: summary ?? description ?? '', first: first === true || name === answer.default }));
  return [...named.filter((entry) => entry.first), ...named.filter((entry) => !entry.first)].map(({ name, summary }) => ({ name, summary }));
}
