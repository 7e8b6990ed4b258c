// Errors as a person reads them.

import assert from 'node:assert/strict';
import test from 'node:test';
import { RpcError, SignalingLost } from '../../web/rpc.js';
import { CallError, disconnected, explain, nodeState } from '../../web/words.js';

const named = (name) => Object.assign(new Error('x'), { name });

test('each error has a name for programs and a sentence for people', () => {
  const cases = [
    [named('NotAllowedError'), 'camera_refused', /allow/i],
    [named('NotFoundError'), 'no_camera', /test picture/],
    [named('NotReadableError'), 'camera_busy', /another program/],
    [new RpcError({ code: -32005, message: 'm', data: { max_peers: 10 } }), 'session_full', /takes 10 peers/],
    [new RpcError({ code: -32009, message: 'm', data: { what: 'max_sessions', limit: 16, in_use: 16 } }), 'no_capacity', /16 of 16 max sessions/],
    [new RpcError({ code: -32009, message: 'm', data: { what: 'workers', limit: 4, in_use: 4 } }), 'no_capacity', /No worker/],
    [new RpcError({ code: -32009, message: 'm', data: { what: 'session starts a second', limit: 5, in_use: 5 } }), 'no_capacity', /few seconds/],
    [new RpcError({ code: -32002, message: 'm', data: { reason: 'no fingerprint' } }), 'offer_refused', /no fingerprint/],
    [new RpcError({ code: -32008, message: 'm' }), 'no_session', /not exist/],
    [new RpcError({ code: -32099, message: 'something new' }), 'refused', /something new/],
    [new SignalingLost('the router cannot be reached'), 'signaling_lost', /Is the router running/],
    [new CallError('ice_failed', 'No media.'), 'ice_failed', /No media/],
    [new TypeError('odd'), 'failed', /odd/],
  ];
  for (const [error, code, text] of cases) {
    const words = explain(error);
    assert.equal(words.code, code);
    assert.match(words.text, text);
  }
});

test('an error without data is still told', () => {
  for (const code of [-32000, -32001, -32002, -32003, -32005, -32006, -32007, -32008, -32009, -32602]) {
    const { text } = explain(new RpcError({ code, message: 'why' }));
    assert.doesNotMatch(text, /undefined|NaN|null/, `${code}: ${text}`);
  }
});

test('a reason that nobody knows is still told', () => {
  assert.match(disconnected('timeout'), /heard nothing/);
  assert.match(disconnected('whatever'), /ended/);
  assert.match(disconnected('error', 'could not start: no room'), /because of an error: could not start: no room\.$/);
});

test('a worker that is replaced, a node with a fault and one that is well again are told apart', () => {
  assert.match(nodeState({ node: 'codec', state: 'restarting', generation: 2 }), /“codec” went away.* the call goes on/);
  assert.match(nodeState({ node: 'blur', state: 'failed', error: 'signal 6' }), /“blur” has failed.*restarted: signal 6/);
  assert.match(nodeState({ node: 'in/eve/video', state: 'quarantined' }), /“in\/eve\/video” stopped its decoder/);
  assert.match(nodeState({ node: 'mine', state: 'away' }), /ten seconds/);
  assert.match(nodeState({ node: 'blur', state: 'error', error: 'no memory' }), /“blur” has a fault: no memory/);
  assert.equal(nodeState({ node: 'blur', state: 'running' }), '');
});
