// Each stage's share of the round trip, in the order in which a frame passes them.

const ORDER = ['received', 'assembled', 'decoded', 'node', 'encoded', 'sent'];

const LABELS = {
  assembled: 'All packets of the frame are there',
  decoded: 'Decoded',
  encoded: 'Encoded',
  sent: 'Sent back',
};

/**
 * The stages of a `stages` message as rows to show: `{key, label, p50, p95}`. The first is the frame's arrival, which
 * begins the router's part and takes no time. With a measured round trip (its p50) a last row holds what is left:
 * camera, network and browser.
 */
export function shares(stages, roundTrip = null) {
  const place = (key) => ORDER.indexOf(key.split(':')[0]);
  const rows = Object.entries(stages ?? {})
    .filter(([key, value]) => key !== 'received' && place(key) >= 0 && Number.isFinite(value?.p50))
    .sort(([a], [b]) => place(a) - place(b))
    .map(([key, { p50, p95 }]) => ({ key, label: label(key), p50, p95 }));
  const inside = rows.reduce((sum, row) => sum + row.p50, 0);
  if (roundTrip !== null && rows.length > 0) {
    rows.push({ key: 'outside', label: 'Browser and network, both ways', p50: Math.max(0, roundTrip - inside), p95: null });
  }
  return rows;
}

function label(key) {
  return key.startsWith('node:') ? `Node “${key.slice(5)}”` : LABELS[key];
}

/** Width of each row's part of the bar, in percent; together 100, or all 0 where nothing took time. */
export function widths(rows) {
  const whole = rows.reduce((sum, row) => sum + row.p50, 0);
  return rows.map((row) => (whole > 0 ? (row.p50 / whole) * 100 : 0));
}
