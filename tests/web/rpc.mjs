// Requests, answers and notifications over a socket that may end at any time.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Rpc, RpcError, SignalingLost } from '../../web/rpc.js';

/** The browser's end of a WebSocket whose other end is the test. */
class Socket extends EventTarget {
  readyState = 1;
  sent = [];

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code = 1000) {
    this.end(code, '');
  }

  say(message) {
    this.dispatchEvent(Object.assign(new Event('message'), { data: typeof message === 'string' ? message : JSON.stringify(message) }));
  }

  end(code, reason) {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }
}

function connected() {
  const socket = new Socket();
  return { socket, rpc: new Rpc(socket) };
}

test('each answer finds its request, in whatever order they come', async () => {
  const { socket, rpc } = connected();
  const [first, second] = [rpc.request('peer.list', {}), rpc.request('peer.announce', { peer_id: 'a' })];
  assert.deepEqual(socket.sent.map(({ jsonrpc, method }) => [jsonrpc, method]), [['2.0', 'peer.list'], ['2.0', 'peer.announce']]);
  socket.say({ jsonrpc: '2.0', id: socket.sent[1].id, result: { status: 'registered' } });
  socket.say({ jsonrpc: '2.0', id: socket.sent[0].id, result: { peers: [] } });
  assert.deepEqual(await first, { peers: [] });
  assert.deepEqual(await second, { status: 'registered' });
  rpc.close();
});

test('a refusal carries its code and data', async () => {
  const { socket, rpc } = connected();
  const asked = rpc.request('peer.offer', {});
  socket.say({ jsonrpc: '2.0', id: socket.sent[0].id, error: { code: -32005, message: 'full', data: { max_peers: 2 } } });
  await assert.rejects(asked, (error) => error instanceof RpcError && error.code === -32005 && error.data.max_peers === 2);
  rpc.close();
});

test('whoever waits when the connection ends is told, and so is who asks later', async () => {
  const { socket, rpc } = connected();
  const closed = new Promise((resolve) => { rpc.onclose = (code, reason) => resolve([code, reason]); });
  const asked = rpc.request('peer.list', {});
  socket.end(1013, 'too slow');
  await assert.rejects(asked, SignalingLost);
  await assert.rejects(rpc.request('peer.list', {}), SignalingLost);
  assert.deepEqual(await closed, [1013, 'too slow']);
});

test('notifications and batches come in order; what is not JSON-RPC is passed over', () => {
  const { socket, rpc } = connected();
  const heard = [];
  rpc.onnotify = (method, params) => heard.push([method, params.n]);
  socket.say('nonsense');
  socket.say('null');
  socket.say('[1, null, "x"]');
  socket.say({ jsonrpc: '2.0', id: 99, result: {} });
  socket.say([{ jsonrpc: '2.0', method: 'a', params: { n: 1 } }, { jsonrpc: '2.0', method: 'b', params: { n: 2 } }]);
  socket.say({ jsonrpc: '2.0', method: 'c' });
  assert.deepEqual(heard, [['a', 1], ['b', 2], ['c', undefined]]);
});
