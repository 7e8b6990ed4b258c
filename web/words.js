// What went wrong, in words a person can act on.

import { RpcError, SignalingLost } from './rpc.js';

/** Something that the page itself found out; `code` names it for programs. */
export class CallError extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'CallError';
    this.code = code;
  }
}

const MEDIA = {
  NotAllowedError: ['camera_refused', 'The browser was not allowed to use the camera and microphone. Allow them beside the address bar, or choose the test picture.'],
  SecurityError: ['camera_refused', 'This page may not use the camera and microphone. Choose the test picture.'],
  NotFoundError: ['no_camera', 'No camera or no microphone was found. Connect one, or choose the test picture.'],
  OverconstrainedError: ['no_camera', 'No camera can make this picture size. Choose another size, or the test picture.'],
  NotReadableError: ['camera_busy', 'The camera or microphone is in use by another program. Close that one, or choose the test picture.'],
  AbortError: ['camera_busy', 'The camera or microphone stopped. Try again, or choose the test picture.'],
};

const RPC = {
  [-32000]: () => ['router_away', 'The router takes no calls at the moment: its media part is not there.'],
  [-32001]: () => ['peer_exists', 'Somebody is registered under this page’s name. Start again to get another one.'],
  [-32002]: (e) => ['offer_refused', `The router refused the call: ${e.data.reason ?? e.message}.`],
  [-32003]: (e) => ['answer_refused', `The router refused an answer: ${e.data.reason ?? e.message}.`],
  [-32005]: (e) => ['session_full', `The session is full: it takes ${e.data.max_peers ?? 'no more'} peers. Try again when somebody has left, or name another session.`],
  [-32006]: (e) => ['too_fast', `Too many requests. Try again in ${Math.ceil((e.data.retry_after_ms ?? 1000) / 1000)} s.`],
  [-32007]: (e) => ['not_allowed', `The router does not allow this: ${e.message}.`],
  [-32008]: () => ['no_session', 'This session does not exist any more.'],
  [-32009]: (e) => ['no_capacity', noCapacity(e)],
};

function noCapacity(error) {
  const { what, limit, in_use: used } = error.data;
  if (/worker/.test(String(what))) return 'No worker is free to process this call. Try again in a moment; `remotemedia ps` on the router’s machine shows its workers.';
  if (/stopping/.test(String(what))) return 'The router is stopping and takes no new calls. Try again when it is back.';
  if (/a second/.test(String(what))) return 'Too many calls start at this moment. Try again in a few seconds.';
  const figures = limit === undefined ? error.message : `${used} of ${limit} ${String(what).replaceAll('_', ' ')} are in use`;
  return `The router has no room for another call: ${figures}. Try again later.`;
}

/** Any error as `{code, text}`. */
export function explain(error) {
  if (error instanceof CallError) return { code: error.code, text: error.message };
  if (error instanceof RpcError) {
    const [code, text] = RPC[error.code]?.(error) ?? ['refused', `The router refused: ${error.message}.`];
    return { code, text };
  }
  if (error instanceof SignalingLost) {
    return { code: 'signaling_lost', text: `Signaling failed: ${error.message}. Is the router running?` };
  }
  const media = MEDIA[error?.name];
  if (media) return { code: media[0], text: media[1] };
  return { code: 'failed', text: `This did not work: ${error?.message ?? error}.` };
}

/** What a `session.node_state` means for the call; empty when all is well. */
export function nodeState({ node, state, error }) {
  if (state === 'restarting') return `What runs “${node}” went away; another process takes its place, and the call goes on.`;
  if (state === 'running' || state === 'ready') return '';
  if (state === 'away') return `“${node}” broke off; it has ten seconds to come back.`;
  const why = error ? `: ${error}` : '';
  if (state === 'failed') return `“${node}” has failed and stays away until it is restarted${why}.`;
  if (state === 'quarantined') return `What comes in as “${node}” stopped its decoder each time and is not taken any more${why}.`;
  return `Node “${node}” has a fault${error ? `: ${error}` : ` (${state})`}.`;
}

const DISCONNECTED = {
  user_requested: 'The router ended the call.',
  network_error: 'The router lost the connection.',
  timeout: 'The router heard nothing from this page for too long and ended the call.',
  error: 'The router ended the call because of an error.',
  answered_elsewhere: 'The call was answered on another device.',
};

/** Why the other side hung up; details are its own words. */
export function disconnected(reason, details) {
  const words = DISCONNECTED[reason] ?? 'The router ended the call.';
  return details ? `${words.slice(0, -1)}: ${details}.` : words;
}
