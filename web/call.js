// One call: announce, session, connection to the router, its states and its end.

import { Negotiation, ROUTER, requestId } from './negotiation.js';
import { Rpc, RpcError, SignalingLost } from './rpc.js';
import { CallError, disconnected } from './words.js';

/** Media must flow this long after the offer, or the network lets nothing through (chosen). */
const CONNECT_WITHIN_MS = 20_000;
/** A dropped registration is kept for 30 s by the contract. */
const TAKE_BACK_WITHIN_MS = 30_000;
const NO_SESSION = -32008;

/** Bits a second for a picture of this many pixels: 1.5 Mb/s at 720p (chosen: what the benchmarks use), never under 250 kb/s. */
export function bitrateFor(width, height) {
  return Math.max(250_000, Math.round(1_500_000 * Math.sqrt((width * height) / (1280 * 720))));
}

export class Call {
  #options;
  #rpc = null;
  #negotiation = null;
  #registration = null;
  #deadline = 0;
  #over = false;
  pc = null;
  state = 'idle';
  /** Called with (state) whenever it changes: signaling, connecting, live, ended, failed. */
  onstate = () => {};
  /** Called with an error that ended the call. */
  onerror = () => {};
  /** Called with a sentence about something that the call survives; empty when it is over. */
  onnotice = () => {};
  /** Called with (stream, track) for each returned track, and with (stream) when it has lost one. */
  ontrack = () => {};
  onuntrack = () => {};
  /** Called with each of the router's notifications about the session. */
  onevent = () => {};

  /** `{url, session, pipeline, codec, bitrate, stream}`; an empty session is one of the caller's own. */
  constructor(options) {
    this.#options = { ...options, peerId: `page-${requestId()}` };
  }

  /** Begins the call; errors come through `onerror`. */
  async start() {
    try {
      this.#enter('signaling');
      await this.#announce();
      if (!this.#over) await this.#chooseSession();
      if (this.#over) return;
      this.#enter('connecting');
      this.#connect();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Ends the call and tells the router. */
  hangUp() {
    if (this.#over) return;
    this.#rpc?.notify('peer.disconnect', { to: ROUTER, reason: 'user_requested', ...(this.#negotiation?.requestId && { request_id: this.#negotiation.requestId }) });
    this.#end('ended');
  }

  async #announce() {
    const { url, session, peerId } = this.#options;
    const rpc = await Rpc.connect(url);
    rpc.onnotify = (method, params) => this.#notified(method, params);
    try {
      this.#registration = await rpc.request('peer.announce', {
        peer_id: peerId,
        capabilities: ['audio', 'video', 'data'],
        ...(session && { session_id: session }),
        ...(this.#registration && { session_key: this.#registration.session_key }),
      });
    } catch (error) {
      rpc.close();
      throw error;
    }
    if (this.#over) {
      rpc.close();
      return;
    }
    rpc.onclose = (code, reason) => this.#signalingLost(rpc, code, reason);
    this.#rpc = rpc;
    this.#negotiation?.use(rpc);
  }

  /** In a session of others its pipeline stands; otherwise the chosen one is made. */
  async #chooseSession() {
    const { session, pipeline } = this.#options;
    if (!pipeline) return;
    if (session && (await this.#exists(session))) return;
    try {
      await this.#rpc.request('session.create', { pipeline, ...(session && { session_id: session }) });
    } catch (error) {
      // Another page may have made it at the same moment.
      if (!(error instanceof RpcError && session && (await this.#exists(session)))) throw error;
    }
  }

  async #exists(session) {
    try {
      await this.#rpc.request('session.describe', { session_id: session });
      return true;
    } catch (error) {
      if (error instanceof RpcError && error.code === NO_SESSION) return false;
      throw error;
    }
  }

  #connect() {
    const pc = new RTCPeerConnection({ iceServers: this.#registration.ice_servers ?? [], bundlePolicy: 'max-bundle' });
    this.pc = pc;
    this.#negotiation = new Negotiation(pc, this.#rpc);
    this.#negotiation.onfail = (error) => this.#fail(error);
    pc.ontrack = ({ streams: [stream], track }) => {
      const into = stream ?? new MediaStream([track]);
      this.ontrack(into, track);
      into.onremovetrack = () => this.onuntrack(into);
    };
    pc.onconnectionstatechange = () => this.#connectionChanged();
    pc.createDataChannel('events').onmessage = ({ data }) => this.#event(data);
    this.#addTracks(pc);
    this.#expect(CONNECT_WITHIN_MS);
  }

  #addTracks(pc) {
    const { stream, codec, bitrate } = this.#options;
    for (const track of stream.getTracks()) {
      const video = track.kind === 'video';
      const transceiver = pc.addTransceiver(track, {
        direction: 'sendrecv',
        streams: [stream],
        ...(video && { sendEncodings: [{ maxBitrate: bitrate }] }),
      });
      if (!video) continue;
      preferCodec(transceiver, codec);
      const parameters = transceiver.sender.getParameters();
      transceiver.sender.setParameters({ ...parameters, degradationPreference: 'maintain-resolution' }).catch(() => {
        // A browser that does not know the preference keeps its own.
      });
    }
  }

  #connectionChanged() {
    const { connectionState } = this.pc;
    if (connectionState === 'connected') {
      clearTimeout(this.#deadline);
      this.onnotice('');
      this.#enter('live');
    } else if (connectionState === 'disconnected' && this.state === 'live') {
      this.onnotice('The connection is interrupted. Waiting for it to come back…');
    } else if (connectionState === 'failed') {
      if (this.state !== 'live') {
        this.#fail(iceFailed());
        return;
      }
      this.onnotice('The connection broke. Looking for another way to the router…');
      this.pc.restartIce();
      this.#expect(CONNECT_WITHIN_MS);
    }
  }

  #expect(withinMs) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#fail(iceFailed()), withinMs);
  }

  #notified(method, params) {
    if (this.#over) return;
    const ours = params.from === ROUTER || params.to === ROUTER;
    if (method === 'peer.disconnected' && ours) {
      this.#end('ended', new CallError('disconnected', disconnected(params.reason, params.details)));
    } else if (method === 'peer.rejected' && ours) {
      this.#fail(new CallError('rejected', `The router declined the call${params.reason ? `: ${params.reason}` : ''}.`));
    } else if (method === 'peer.timeout' && ours) {
      this.#fail(new CallError('timeout', 'The router did not answer the call in time.'));
    } else if (method.startsWith('session.')) {
      this.onevent({ event: method, ...params });
    } else if (ours) {
      this.#negotiation?.take(method, params);
    }
  }

  #event(text) {
    try {
      const message = JSON.parse(text);
      if (typeof message?.event === 'string') this.onevent(message);
    } catch {
      // Not a message of the router's: nothing to show.
    }
  }

  async #signalingLost(rpc, code, reason) {
    if (this.#over || rpc !== this.#rpc) return;
    if (this.state !== 'live') {
      this.#fail(new SignalingLost(reason || `the connection to the router ended (code ${code})`));
      return;
    }
    this.onnotice('Signaling is lost; the call goes on. Connecting again…');
    const until = performance.now() + TAKE_BACK_WITHIN_MS;
    for (let wait = 500; performance.now() < until && !this.#over; wait = Math.min(wait * 2, 5000)) {
      await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
      try {
        await this.#announce();
        this.onnotice('');
        return;
      } catch (error) {
        if (error instanceof RpcError) break;
      }
    }
    if (!this.#over) this.onnotice('Signaling is lost for good: the call goes on as long as its media does.');
  }

  #fail(error) {
    if (this.#over) return;
    this.#rpc?.notify('peer.disconnect', { to: ROUTER, reason: 'error' });
    this.#end('failed', error);
  }

  #end(state, error) {
    this.#over = true;
    clearTimeout(this.#deadline);
    this.pc?.close();
    this.#rpc?.close();
    this.#enter(state);
    if (error) this.onerror(error);
  }

  #enter(state) {
    this.state = state;
    this.onstate(state);
  }
}

function iceFailed() {
  return new CallError('ice_failed', 'No media connection to the router came about: a firewall or proxy between here and there lets none through.');
}

/** Offers the chosen codec and what repairs its losses, nothing else. */
function preferCodec(transceiver, name) {
  if (!name) return;
  const { codecs } = RTCRtpReceiver.getCapabilities('video');
  const chosen = codecs.filter((codec) => codec.mimeType.toLowerCase() === `video/${name}` && suits(codec));
  if (chosen.length === 0) {
    throw new CallError('no_codec', `This browser cannot send ${name.toUpperCase()}. Choose another codec.`);
  }
  const repair = codecs.filter((codec) => codec.mimeType.toLowerCase() === 'video/rtx');
  transceiver.setCodecPreferences([...chosen, ...repair]);
}

/** The router takes VP9 of profile 0 and H.264 of constrained baseline in packetization mode 1. */
function suits({ mimeType, sdpFmtpLine = '' }) {
  const kind = mimeType.toLowerCase();
  if (kind === 'video/vp9') return !/profile-id=[1-9]/.test(sdpFmtpLine);
  if (kind === 'video/h264') return /packetization-mode=1/.test(sdpFmtpLine) && /profile-level-id=42(e0|c0|00)/i.test(sdpFmtpLine);
  return true;
}
