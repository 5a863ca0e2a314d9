// Every call of the contract's table, made as the Node.js client makes it: axios, JSON, `Authorization: Bearer`, and a
// status other than 200 is an error; but for GET of an application or an endpoint, where 404 is one more answer and its body
// the object. Writes a line for each call that was right, and ends with the first that was not.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { Receiver, verify } from "./receiver.mjs";

const axios = createRequire(`${process.env.WEBHOOK_CLIENTS}/`)("axios");
const [base, key] = process.argv.slice(2);
// The Node.js client's, in seconds.
const TOLERANCE = 5;

const strict = (status) => status === 200;
const lenient = (status) => status === 200 || status === 404;

async function call(method, path, { data, validateStatus = strict, authorization } = {}) {
  const headers = { Authorization: authorization ?? `Bearer ${key}`, Accept: "application/json" };
  const url = `${base}/api/v1${path}`;
  return axios.request({ method, url, headers, data, validateStatus, proxy: false });
}

const body = async (...of) => (await call(...of)).data;
const right = (what) => console.log(`right: ${what}`);

function isObject(object, fields) {
  for (const field of ["id", "created", "updated", ...fields]) {
    assert.ok(field in object, `${field} in ${JSON.stringify(object)}`);
  }
  assert.match(object.id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  for (const time of [object.created, object.updated]) {
    assert.ok(Number.isInteger(time) && Math.abs(time - Date.now()) < 3_600_000, `${time}`);
  }
}

const APPLICATION = ["uid", "name"];
const ENDPOINT = ["uid", "name", "url", "enabled", "eventTypes", "channels", "headers", "secrets"];
const MESSAGE = ["uid", "eventType", "channels", "payload"];

async function applications() {
  const made = await body("post", "/applications", { data: { name: "Hooli", uid: "hooli" } });
  isObject(made, APPLICATION);
  assert.deepEqual([made.name, made.uid], ["Hooli", "hooli"]);
  right("POST /applications");

  const listed = await body("get", "/applications?page=1&size=10");
  assert.ok(Array.isArray(listed), "a bare array");
  assert.deepEqual(listed, [made]);
  assert.deepEqual(await body("get", "/applications?page=2&size=10"), []);
  right("GET /applications");

  for (const name of [made.id, "hooli"]) {
    assert.deepEqual(await body("get", `/applications/${name}`, { validateStatus: lenient }), made);
  }
  const absent = await call("get", "/applications/nobody", { validateStatus: lenient });
  assert.deepEqual([absent.status, absent.data], [404, ""]);
  right("GET /applications/{app}");

  const changed = await body("put", "/applications/hooli", { data: { name: "Nucleus", uid: "hooli" } });
  assert.deepEqual({ ...changed, updated: 0 }, { ...made, name: "Nucleus", updated: 0 });
  right("PUT /applications/{app}");

  const other = await body("post", "/applications", { data: { name: "Other", uid: null } });
  assert.deepEqual(await body("delete", `/applications/${other.id}`), other);
  const gone = await call("get", `/applications/${other.id}`, { validateStatus: lenient });
  assert.deepEqual([gone.status, gone.data], [404, ""]);
  right("DELETE /applications/{app}");
}

async function endpoints(receiver) {
  const data = {
    channels: ["eu"],
    enabled: true,
    eventTypes: ["sms.status"],
    headers: { "X-Partner": "hooli" },
    name: "CRM",
    uid: "crm",
    url: receiver.url("/crm"),
  };
  const path = "/applications/hooli/endpoints";
  const made = await body("post", path, { data });
  isObject(made, ENDPOINT);
  const { headers, ...rest } = data;
  for (const [field, value] of Object.entries(rest)) assert.deepEqual(made[field], value, field);
  assert.deepEqual(made.headers, { "x-partner": headers["X-Partner"] });
  assert.ok(made.secrets.length === 1 && typeof made.secrets[0] === "string", "one was made");
  right("POST /applications/{app}/endpoints");

  const listed = await body("get", `${path}?page=1&size=10`);
  assert.deepEqual(listed, { data: [made], meta: { count: 1 } });
  right("GET /applications/{app}/endpoints");

  for (const name of [made.id, "crm"]) {
    assert.deepEqual(await body("get", `${path}/${name}`, { validateStatus: lenient }), made);
  }
  const absent = await call("get", `${path}/nobody`, { validateStatus: lenient });
  assert.deepEqual([absent.status, absent.data], [404, ""]);
  right("GET /applications/{app}/endpoints/{ep}");

  const secrets = ["i9viqa5vxx78hcxh4rwdm8x7791", made.secrets[0]];
  const changed = await body("put", `${path}/crm`, { data: { ...data, secrets } });
  assert.deepEqual({ ...changed, updated: 0 }, { ...made, secrets, updated: 0 });
  right("PUT /applications/{app}/endpoints/{ep}");

  const other = await body("post", path, { data: { url: receiver.url("/other") } });
  assert.deepEqual([other.enabled, other.eventTypes, other.channels], [true, [], []]);
  assert.deepEqual(await body("delete", `${path}/${other.id}`), other);
  right("DELETE /applications/{app}/endpoints/{ep}");
  return changed;
}

async function messages(receiver, endpoint) {
  const path = "/applications/hooli/messages";
  const data = {
    channels: ["eu", "se"],
    eventType: "sms.status",
    payload: { to: "+46701234567", text: "Räksmörgås 😀", big: 1e21, list: [1.5, null, true] },
  };
  const made = await body("post", path, { data });
  isObject(made, MESSAGE);
  const { channels, eventType, payload, uid } = made;
  assert.deepEqual({ channels, eventType, payload, uid }, { ...data, uid: null });
  const named = await body("post", path, { data: { ...data, uid: "m-1" } });
  assert.equal(named.uid, "m-1");
  right("POST /applications/{app}/messages");

  for (const message of [made, named]) {
    const { headers, body } = await receiver.request("/crm", message.id);
    assert.equal(body.toString(), JSON.stringify(data.payload), "the bytes that axios sent");
    for (const secret of endpoint.secrets) {
      assert.ok(verify(headers["x-signature"], body, secret, TOLERANCE), headers["x-signature"]);
      const tampered = Buffer.concat([body, Buffer.from(" ")]);
      assert.ok(!verify(headers["x-signature"], tampered, secret, TOLERANCE), "verifies nothing");
    }
    assert.ok(!verify(headers["x-signature"], body, "another", TOLERANCE), "verifies nothing");
    assert.equal(headers["x-partner"], "hooli");
    assert.equal(headers["content-type"], "application/json");
  }
  right("X-Signature");

  for (const name of [made.id, "m-1"]) {
    const deliveries = await settled(`${path}/${name}/endpoint-messages`);
    assert.equal(deliveries.length, 1);
    const [delivery] = deliveries;
    isObject(delivery, ["nextAttemptTimestamp", "timestamp"]);
    assert.deepEqual([delivery.status, delivery.attemptCount], ["success", 1]);
    assert.equal(delivery.attempts.length, 1);
    assert.equal(delivery.attempts[0].statusCode, 200);
    assert.ok(Number.isInteger(delivery.attempts[0].timestamp));
    assert.equal(delivery.endpoint.id ?? delivery.endpoint, endpoint.id);
    assert.equal(delivery.nextAttemptTimestamp, null);
  }
  right("GET /applications/{app}/messages/{msg}/endpoint-messages");
}

async function settled(path) {
  for (;;) {
    const list = await body("get", path);
    assert.ok(Array.isArray(list), "a bare array");
    if (list.every(({ status }) => !["pending", "sending"].includes(status)) && list.length) return list;
    await new Promise((later) => setTimeout(later, 10));
  }
}

async function conventions() {
  const bare = await call("get", "/applications", { authorization: key });
  assert.equal(bare.headers["access-control-allow-origin"], "*");
  const errors = (status) => status >= 400;
  const unknown = await call("get", "/applications", { authorization: "no", validateStatus: errors });
  assert.deepEqual([unknown.status, unknown.data.code], [401, "unauthorized"]);
  assert.ok(unknown.data.message && Array.isArray(unknown.data.details));
  right("Authorization");

  const preflight = await axios.request({
    method: "options",
    url: `${base}/api/v1/applications`,
    headers: {
      Origin: "https://example.com",
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": "authorization,content-type",
    },
    validateStatus: strict,
    proxy: false,
  });
  assert.equal(preflight.headers["access-control-allow-origin"], "*");
  for (const allow of ["methods", "headers"]) {
    assert.ok(preflight.headers[`access-control-allow-${allow}`], allow);
  }
  right("CORS");
}

const receiver = await Receiver.start();
await applications();
await messages(receiver, await endpoints(receiver));
await conventions();
receiver.close();
