// Signs requests as Stripe signs its own, for receivers that verify with Stripe's libraries.

import { all, hmacSha256 } from 'octohooks:plugin/keys@0.1.0';
import { get as setting } from 'octohooks:plugin/settings@0.1.0';

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

// What is signed: `<seconds>.<body>`.
function signed(timestamp, body) {
  const time = new TextEncoder().encode(`${timestamp}.`);
  const bytes = new Uint8Array(time.length + body.length);
  bytes.set(time);
  bytes.set(body, time.length);
  return bytes;
}

export const signer = {
  sign({ timestamp, body }) {
    // While a rotation lasts there are two: receivers take a request that any `v1` of is right.
    const keys = all().filter(({ kind }) => kind === 'symmetric');
    // What is thrown is the failure: a text, with which the attempt fails.
    if (keys.length === 0) throw 'no secret of the endpoint makes HMACs';
    const bytes = signed(timestamp, body);
    const macs = keys.map(({ handle }) => `v1=${hex(hmacSha256(handle, bytes))}`);
    return [[setting('header') ?? 'stripe-signature', `t=${timestamp},${macs.join(',')}`]];
  },
};
