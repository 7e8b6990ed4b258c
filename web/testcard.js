// The test picture and the test sound: colour, motion and fine detail, so that an effect on any of them can be seen.

/** Draws the picture of this moment. */
export function drawTestCard(context, width, height, ms) {
  const bars = ['#e6e6e6', '#e0d000', '#00c8d2', '#18b43c', '#c83cc8', '#dc2828', '#2846dc'];
  const bar = width / bars.length;
  const moved = ms / 1200;
  const whole = Math.floor(moved);
  for (let i = -1; i < bars.length; i += 1) {
    context.fillStyle = bars[(((i - whole) % bars.length) + bars.length) % bars.length];
    context.fillRect((i + moved - whole) * bar, 0, bar + 1, height);
  }
  fineLines(context, width, height);
  hand(context, width, height, ms);
  ball(context, width, height, ms);
  clock(context, width, height, ms);
}

/** Lines of two pixels in the middle: a blur turns them into plain gray. */
function fineLines(context, width, height) {
  const side = Math.round(height * 0.42);
  const left = Math.round((width - side) / 2);
  const top = Math.round((height - side) / 2);
  context.fillStyle = '#f4f4f4';
  context.fillRect(left, top, side, side);
  context.fillStyle = '#101010';
  for (let x = 0; x < side / 2; x += 4) context.fillRect(left + x, top, 2, side);
  for (let y = 0; y < side; y += 4) context.fillRect(left + Math.round(side / 2), top + y, Math.floor(side / 2), 2);
}

function hand(context, width, height, ms) {
  const [x, y, radius] = [width * 0.17, height * 0.62, height * 0.2];
  context.fillStyle = '#15181d';
  context.beginPath();
  context.arc(x, y, radius * 1.15, 0, Math.PI * 2);
  context.fill();
  const angle = (ms / 2000) * Math.PI * 2;
  context.strokeStyle = '#ffb000';
  context.lineWidth = Math.max(2, radius * 0.14);
  context.lineCap = 'round';
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + Math.sin(angle) * radius, y - Math.cos(angle) * radius);
  context.stroke();
}

function ball(context, width, height, ms) {
  const bounce = Math.abs(Math.sin(ms / 700));
  const x = width * (0.83 + 0.08 * Math.sin(ms / 1100));
  context.fillStyle = '#ff5a36';
  context.beginPath();
  context.arc(x, height * (0.84 - 0.38 * bounce), height * 0.07, 0, Math.PI * 2);
  context.fill();
}

function clock(context, width, height, ms) {
  const seconds = (ms / 1000).toFixed(2).padStart(7, '0');
  context.font = `600 ${Math.round(height * 0.075)}px ui-monospace, monospace`;
  context.textAlign = 'center';
  context.fillStyle = 'rgba(0, 0, 0, 0.72)';
  context.fillRect(width * 0.36, height * 0.84, width * 0.28, height * 0.11);
  context.fillStyle = '#fff';
  context.fillText(seconds, width / 2, height * 0.922);
}

/** A quiet tone with a tick twice a second, as a track; `stop` ends it. */
export function testSound(audio) {
  const out = audio.createMediaStreamDestination();
  const hum = new OscillatorNode(audio, { frequency: 220 });
  const humGain = new GainNode(audio, { gain: 0.02 });
  hum.connect(humGain).connect(out);
  // One second of silence with two bursts of 1 kHz, looped: exact to the sample, whatever timers do.
  const rate = audio.sampleRate;
  const second = audio.createBuffer(1, rate, rate);
  const samples = second.getChannelData(0);
  for (const begin of [0, rate / 2]) {
    for (let i = 0; i < rate * 0.03; i += 1) {
      samples[Math.floor(begin) + i] = 0.4 * Math.sin((2 * Math.PI * 1000 * i) / rate);
    }
  }
  const ticks = new AudioBufferSourceNode(audio, { buffer: second, loop: true });
  ticks.connect(out);
  hum.start();
  ticks.start();
  return {
    track: out.stream.getAudioTracks()[0],
    stop() {
      hum.stop();
      ticks.stop();
    },
  };
}
