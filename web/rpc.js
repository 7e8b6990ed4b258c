// JSON-RPC 2.0 over one WebSocket: requests with their answers, notifications both ways.

/** How long an answer may take; the hub answers at once, a session's start takes its time (chosen). */
const ANSWER_WITHIN_MS = 15_000;

/** An answer that says no. */
export class RpcError extends Error {
  constructor(error) {
    super(String(error?.message ?? 'unknown error'));
    this.name = 'RpcError';
    this.code = error?.code ?? 0;
    this.data = error?.data ?? {};
  }
}

/** The connection is gone, or an answer did not come. */
export class SignalingLost extends Error {
  constructor(why) {
    super(why);
    this.name = 'SignalingLost';
  }
}

export class Rpc {
  #socket;
  #next = 1;
  #waiting = new Map();
  /** Called with (method, params) of each notification, in the order of their coming. */
  onnotify = () => {};
  /** Called once, when the connection has ended; with the close code and reason. */
  onclose = () => {};

  /** Takes a WebSocket, open or opening. */
  constructor(socket) {
    this.#socket = socket;
    socket.addEventListener('message', (event) => this.#take(event.data));
    socket.addEventListener('close', (event) => {
      for (const { reject } of this.#waiting.values()) reject(new SignalingLost('the connection to the router ended'));
      this.#waiting.clear();
      this.onclose(event.code, event.reason);
    });
  }

  /** Connects; fails when that does not succeed. */
  static async connect(url) {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve, { once: true });
      socket.addEventListener('close', () => reject(new SignalingLost('the router cannot be reached')), { once: true });
    });
    return new Rpc(socket);
  }

  /** Sends a request; gives its result, or throws RpcError or SignalingLost. */
  request(method, params) {
    const id = this.#next;
    this.#next += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new SignalingLost(`no answer to ${method}`));
      }, ANSWER_WITHIN_MS);
      const settle = (how) => (value) => {
        clearTimeout(timer);
        how(value);
      };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      if (!this.#send({ jsonrpc: '2.0', id, method, params })) {
        this.#waiting.get(id).reject(new SignalingLost('the connection to the router ended'));
        this.#waiting.delete(id);
      }
    });
  }

  /** Sends a notification; it is lost when the connection is. */
  notify(method, params) {
    this.#send({ jsonrpc: '2.0', method, params });
  }

  close() {
    this.#socket.close(1000);
  }

  #send(message) {
    const open = this.#socket.readyState === 1;
    if (open) this.#socket.send(JSON.stringify(message));
    return open;
  }

  #take(text) {
    let read;
    try {
      read = JSON.parse(text);
    } catch {
      return; // Not for us; whoever waits for an answer is told by the time limit.
    }
    for (const message of Array.isArray(read) ? read : [read]) {
      if (typeof message !== 'object' || message === null) continue;
      if (typeof message.method === 'string') {
        this.onnotify(message.method, message.params ?? {});
        continue;
      }
      const waiting = this.#waiting.get(message.id);
      if (!waiting) continue;
      this.#waiting.delete(message.id);
      if (message.error) waiting.reject(new RpcError(message.error));
      else waiting.resolve(message.result);
    }
  }
}
