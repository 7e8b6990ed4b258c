// Offers and answers between this page and the router: the pattern of "perfect negotiation", in which a router yields.

import { RpcError } from './rpc.js';

export const ROUTER = 'router';

export class Negotiation {
  #pc;
  #rpc;
  #making = false;
  #exchange = '';
  #ignored = '';
  #early = [];
  #chain = Promise.resolve();
  /** Called with an error that ends the call. */
  onfail = () => {};

  constructor(pc, rpc) {
    this.#pc = pc;
    this.#rpc = rpc;
    pc.onnegotiationneeded = () => this.#offer();
    pc.onicecandidate = ({ candidate }) => {
      // The end of candidates is told as the contract says: an empty text.
      this.#rpc.notify('peer.ice_candidate', {
        to: ROUTER,
        candidate: candidate?.candidate ?? '',
        sdp_mid: candidate?.sdpMid ?? null,
        sdp_m_line_index: candidate?.sdpMLineIndex ?? null,
        ...(candidate?.usernameFragment && { user_fragment: candidate.usernameFragment }),
        request_id: this.#exchange,
      });
    };
  }

  /** The exchange under way or done last. */
  get requestId() {
    return this.#exchange;
  }

  /** After signaling came back: messages go this way from now on. */
  use(rpc) {
    this.#rpc = rpc;
  }

  /** Takes a message of the router; they are worked off one after the other. */
  take(method, params) {
    const step = { 'peer.answer': this.#answered, 'peer.offer': this.#offered, 'peer.ice_candidate': this.#candidate }[method];
    if (!step) return;
    this.#chain = this.#chain.then(() => step.call(this, params)).catch((error) => this.onfail(error));
  }

  async #offer() {
    const first = this.#exchange === '';
    try {
      this.#making = true;
      this.#exchange = requestId();
      await this.#pc.setLocalDescription();
      this.#making = false;
      await this.#rpc.request('peer.offer', {
        to: ROUTER,
        sdp: this.#pc.localDescription.sdp,
        can_trickle_ice_candidates: true,
        request_id: this.#exchange,
      });
    } catch (error) {
      this.#making = false;
      if (first || !(error instanceof RpcError)) this.onfail(error);
      // A change that was refused leaves the call as it was.
      else if (this.#pc.signalingState === 'have-local-offer') await this.#pc.setLocalDescription({ type: 'rollback' });
    }
  }

  async #answered({ sdp, request_id: id }) {
    if (id !== this.#exchange || this.#pc.signalingState !== 'have-local-offer') return;
    await this.#pc.setRemoteDescription({ type: 'answer', sdp });
    await this.#addEarly();
  }

  async #offered({ sdp, request_id: id }) {
    if (this.#making || this.#pc.signalingState !== 'stable') {
      // Both offered at once: the router takes its own offer back and answers ours.
      this.#ignored = id;
      return;
    }
    this.#exchange = id;
    await this.#pc.setRemoteDescription({ type: 'offer', sdp });
    await this.#addEarly();
    await this.#pc.setLocalDescription();
    await this.#rpc.request('peer.answer', {
      to: ROUTER,
      sdp: this.#pc.localDescription.sdp,
      can_trickle_ice_candidates: true,
      request_id: id,
    });
  }

  async #candidate(message) {
    if (message.request_id === this.#ignored) return;
    if (!this.#pc.remoteDescription) {
      this.#early.push(message);
      return;
    }
    await this.#add(message);
  }

  async #addEarly() {
    for (const message of this.#early.splice(0)) await this.#add(message);
  }

  async #add({ candidate, sdp_mid: sdpMid, sdp_m_line_index: sdpMLineIndex, user_fragment: usernameFragment }) {
    // Browsers want a place even for the end of candidates.
    const place = sdpMid ?? sdpMLineIndex ?? null;
    const init = { candidate, sdpMid, sdpMLineIndex: place === null ? 0 : sdpMLineIndex, usernameFragment };
    try {
      await this.#pc.addIceCandidate(init);
    } catch (error) {
      // One candidate that cannot be used is no reason to give up: others may work, and ICE tells when none does.
      console.warn('ICE candidate not used:', error.message, candidate);
    }
  }
}

/** A name that nobody else gives; `crypto.randomUUID` is missing on pages that are not from localhost or https. */
export function requestId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
