// Chromium with itself: the page's own source and reader on two connections in one page, with no server between.
(async () => {
  const modules = ['source', 'journeys', 'returned'].map((name) => import(`/${name}.js`));
  const [{ Source }, { Journeys }, { Returned }] = await Promise.all(modules);
  const journeys = new Journeys();
  const audio = new AudioContext({ latencyHint: 'interactive' });
  audio.resume().catch(() => {});
  const canvas = document.createElement('canvas');
  const source = await Source.open({ kind: 'test', width: 1280, height: 720, canvas, journeys, audio });
  const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
  document.body.prepend(video);
  const returned = new Returned(video, journeys);
  const began = performance.now();
  const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
  from.onicecandidate = ({ candidate }) => to.addIceCandidate(candidate);
  to.onicecandidate = ({ candidate }) => from.addIceCandidate(candidate);
  to.ontrack = ({ streams: [stream] }) => returned.follow(stream, audio);
  for (const track of source.stream.getTracks()) {
    const picture = track.kind === 'video';
    const transceiver = from.addTransceiver(track, { direction: 'sendonly', streams: [source.stream], ...(picture && { sendEncodings: [{ maxBitrate: 1_500_000 }] }) });
    if (!picture) continue;
    const { codecs } = RTCRtpReceiver.getCapabilities('video');
    transceiver.setCodecPreferences([...codecs].sort((a, b) => (b.mimeType === 'video/VP8') - (a.mimeType === 'video/VP8')));
    const parameters = transceiver.sender.getParameters();
    transceiver.sender.setParameters({ ...parameters, degradationPreference: 'maintain-resolution' }).catch(() => {});
  }
  await from.setLocalDescription();
  await to.setRemoteDescription(from.localDescription);
  await to.setLocalDescription();
  await from.setRemoteDescription(to.localDescription);
  window.itself = () => ({
    frames: { sent: journeys.sent, returned: journeys.returned },
    latency: journeys.percentiles(),
    firstFrameMs: returned.firstAt === null ? null : returned.firstAt - began,
    width: video.videoWidth,
  });
  return true;
})()
