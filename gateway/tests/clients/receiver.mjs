// A receiver of webhooks for the scripts beside this one: keeps what comes, byte for byte.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

export class Receiver {
  #server;
  #came = new Map();
  #waiting = new Map();

  static async start() {
    const receiver = new Receiver();
    receiver.#server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      response.end();
      receiver.#take(request, Buffer.concat(chunks));
    });
    await new Promise((listening) => receiver.#server.listen(0, "127.0.0.1", listening));
    return receiver;
  }

  #take({ url, headers }, body) {
    const key = `${url} ${headers["webhook-id"]}`;
    const request = { headers, body };
    this.#came.set(key, request);
    this.#waiting.get(key)?.(request);
  }

  url(path) {
    return `http://127.0.0.1:${this.#server.address().port}${path}`;
  }

  // The request for that path with that message, once it is there. The test that runs the script has a limit of time.
  async request(path, message) {
    const key = `${path} ${message}`;
    return this.#came.get(key) ?? new Promise((came) => this.#waiting.set(key, came));
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

// Whether X-Signature is what the contract says: signed by that secret over these bytes, and not longer ago than `tolerance`
// seconds.
export function verify(header, bytes, secret, tolerance) {
  const parts = (header ?? "").split(",");
  const time = /^t=(\d+)$/.exec(parts.shift())?.[1];
  if (!time || !parts.length || !parts.every((part) => /^v1=[0-9a-f]{64}$/.test(part))) return false;
  if (Math.abs(Date.now() / 1000 - Number(time)) > tolerance) return false;
  const expected = createHmac("sha256", secret).update(`${time}.`).update(bytes).digest();
  return parts.some((part) => timingSafeEqual(Buffer.from(part.slice(3), "hex"), expected));
}
