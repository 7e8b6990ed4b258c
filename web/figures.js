// The connection's figures out of getStats: sizes, rates, losses, each way.

/** Takes what getStats gave and the counters of the time before; gives figures to show and the counters for next time. */
export function figures(report, before = {}) {
  const all = [...report.values()];
  const find = (type, kind) => all.find((s) => s.type === type && s.kind === kind) ?? {};
  const now = {};
  const rate = (name, value, at) => {
    now[name] = { value, at };
    const old = before[name];
    return old && at > old.at && value >= old.value ? ((value - old.value) * 1000) / (at - old.at) : null;
  };
  const codec = (id) => report.get(id)?.mimeType?.split('/')[1] ?? null;
  const flow = (stats, bytes, way) => ({
    bitrate: bytes === undefined ? null : rate(`${way}.${stats.kind}.bytes`, bytes * 8, stats.timestamp),
    codec: codec(stats.codecId),
  });
  const picture = (stats) => ({ width: stats.frameWidth ?? null, height: stats.frameHeight ?? null, fps: stats.framesPerSecond ?? null });
  const [outVideo, outAudio] = [find('outbound-rtp', 'video'), find('outbound-rtp', 'audio')];
  const [inVideo, inAudio] = [find('inbound-rtp', 'video'), find('inbound-rtp', 'audio')];
  const [farVideo, farAudio] = [find('remote-inbound-rtp', 'video'), find('remote-inbound-rtp', 'audio')];
  const pair = all.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded') ?? {};
  return {
    out: {
      video: { ...picture(outVideo), ...flow(outVideo, outVideo.bytesSent, 'out'), loss: farVideo.fractionLost ?? null, limited: outVideo.qualityLimitationReason ?? null },
      audio: { ...flow(outAudio, outAudio.bytesSent, 'out'), loss: farAudio.fractionLost ?? null },
    },
    in: {
      video: {
        ...picture(inVideo),
        ...flow(inVideo, inVideo.bytesReceived, 'in'),
        loss: lossSince(inVideo, before, now),
        frames: inVideo.framesDecoded ?? 0,
        freezes: inVideo.freezeCount ?? 0,
      },
      audio: { ...flow(inAudio, inAudio.bytesReceived, 'in'), loss: lossSince(inAudio, before, now), concealed: concealed(inAudio) },
    },
    path: { roundTripMs: pair.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000 },
    counters: now,
  };
}

/** The lost share of packets between two looks; since the beginning at the first one. */
function lossSince(stats, before, now) {
  if (stats.packetsReceived === undefined) return null;
  const name = `in.${stats.kind}.packets`;
  const lost = stats.packetsLost ?? 0;
  now[name] = { received: stats.packetsReceived, lost };
  const old = before[name] ?? { received: 0, lost: 0 };
  const expected = stats.packetsReceived - old.received + (lost - old.lost);
  return expected > 0 ? Math.max(0, (lost - old.lost) / expected) : 0;
}

function concealed(stats) {
  return stats.totalSamplesReceived > 0 ? stats.concealedSamples / stats.totalSamplesReceived : null;
}
