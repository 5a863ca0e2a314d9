// Calls as a .NET program makes them: System.Text.Json with the web's defaults (camelCase, `null` for what is unset, every
// character beyond ASCII and a few of HTML's escaped), a body in chunks as `JsonContent` sends it, an `Idempotency-Key`, and
// signatures verified over the body's text read as ASCII. Writes a line for each that was right.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { request } from "node:http";
import { Receiver, verify } from "./receiver.mjs";

const [base, key] = process.argv.slice(2);
// The .NET client's, in seconds.
const TOLERANCE = 300;

const right = (what) => console.log(`right: ${what}`);

// As System.Text.Json's default encoder writes it: no character of a JSON text but in strings is escaped by this.
const serialize = (object) =>
  JSON.stringify(camelCase(object)).replace(
    /[&'+<>`\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`,
  );

// Names of properties begin with a small letter.
function camelCase(object) {
  if (Array.isArray(object)) return object.map(camelCase);
  if (object === null || typeof object !== "object") return object;
  const fields = Object.entries(object);
  return Object.fromEntries(fields.map(([k, v]) => [k[0].toLowerCase() + k.slice(1), camelCase(v)]));
}

async function call(method, path, text) {
  const headers = { Authorization: `Bearer ${key}`, Accept: "application/json" };
  if (method === "POST") headers["Idempotency-Key"] = randomUUID();
  if (text !== undefined) {
    headers["Content-Type"] = "application/json; charset=utf-8";
    headers["Transfer-Encoding"] = "chunked";
  }
  const response = await new Promise((answered, failed) => {
    const sent = request(`${base}/api/v1${path}`, { method, headers }, answered);
    sent.on("error", failed);
    if (text !== undefined) sent.write(text);
    sent.end();
  });
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  // What is not there is null.
  if (method === "GET" && response.statusCode === 404) return null;
  assert.equal(response.statusCode, 200, `${method} ${path}: ${body}`);
  return JSON.parse(body);
}

// `Encoding.ASCII.GetBytes` of the body's text: what is beyond ASCII becomes a question mark.
const ascii = (body) => Buffer.from(body.toString("utf8").replace(/[^\0-\x7f]/gu, "?"), "latin1");

const receiver = await Receiver.start();

const application = await call("POST", "/applications", serialize({ Name: "Hööli", Uid: "net" }));
assert.deepEqual([application.name, application.uid], ["Hööli", "net"]);
assert.deepEqual(await call("GET", "/applications/net"), application);
assert.equal(await call("GET", "/applications/nobody"), null);
assert.equal(await call("GET", "/applications/net/endpoints/nobody"), null);
right("applications");

const unset = { Channels: null, Enabled: null, EventTypes: null, Headers: null, Name: null, Secrets: null };
const endpoints = {};
for (const [uid, AsciiPayload] of [["plain", null], ["ascii", true]]) {
  const endpoint = { ...unset, Uid: uid, Url: receiver.url(`/${uid}`), RateLimit: null, AsciiPayload };
  endpoints[uid] = await call("POST", "/applications/net/endpoints", serialize(endpoint));
  assert.deepEqual([endpoints[uid].enabled, endpoints[uid].asciiPayload], [true, AsciiPayload === true]);
  assert.equal(endpoints[uid].secrets.length, 1);
}
right("endpoints with nulls");

async function received(uid, message) {
  const { headers, body } = await receiver.request(`/${uid}`, message.id);
  const [secret] = endpoints[uid].secrets;
  const verified = (bytes) => verify(headers["x-signature"], bytes, secret, TOLERANCE);
  return { body, asBytes: verified(body), asAscii: verified(ascii(body)) };
}

const Payload = { Text: "Räksmörgås <1 & 2> 😀", Number: 12, None: null };
const text = serialize({ EventType: "sms.status", Channels: null, Uid: null, Payload });
assert.match(text, /^[\0-\x7e]*$/);
assert.ok(text.includes("R\\u00E4ksm\\u00F6rg\\u00E5s \\u003C1 \\u0026 2\\u003E \\uD83D\\uDE00"), text);
const escaped = await call("POST", "/applications/net/messages", text);
assert.deepEqual(escaped.payload, camelCase(Payload));
for (const uid of ["plain", "ascii"]) {
  const { body, asBytes, asAscii } = await received(uid, escaped);
  assert.ok(text.includes(`"payload":${body}`), "the bytes that were sent");
  assert.deepEqual([asBytes, asAscii], [true, true], uid);
}
right("an escaped payload verifies as ASCII");

// As another program sends it: UTF-8.
const raw = JSON.stringify({ eventType: "sms.status", payload: camelCase(Payload) });
const message = await call("POST", "/applications/net/messages", raw);
const plain = await received("plain", message);
assert.deepEqual([plain.asBytes, plain.asAscii], [true, false], "which is what asciiPayload is for");
assert.ok(raw.includes(plain.body.toString()), "the bytes that were sent");
const own = await received("ascii", message);
assert.deepEqual([own.asBytes, own.asAscii], [true, true]);
assert.match(own.body.toString("latin1"), /^[\0-\x7e]*$/);
assert.deepEqual(JSON.parse(own.body), camelCase(Payload));
right("a payload in UTF-8 verifies as ASCII at an endpoint with asciiPayload");

const again = serialize({ ...unset, Url: receiver.url("/ascii"), Uid: "ascii", AsciiPayload: null });
const changed = await call("PUT", "/applications/net/endpoints/ascii", again);
assert.deepEqual({ ...changed, updated: 0 }, { ...endpoints.ascii, updated: 0 });
assert.deepEqual(await call("DELETE", "/applications/net/endpoints/ascii"), changed);
right("a change with nulls");

receiver.close();
