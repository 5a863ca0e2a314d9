// Greets whoever a message names.

import { write as log } from 'octohooks:plugin/log@0.1.0';
import { get as setting } from 'octohooks:plugin/settings@0.1.0';

// What is thrown is the failure: `reject` for a message that will never work.
const reject = (reason) => ({ tag: 'reject', val: reason });

function read(message) {
  try {
    return JSON.parse(new TextDecoder().decode(message.payload));
  } catch (error) {
    throw reject(`payload: ${error.message}`);
  }
}

export const transformer = {
  onMessage(message) {
    const guest = read(message);
    if (typeof guest.name !== 'string') throw reject('payload: a guest has a name');
    log('info', `greeting ${guest.name}`);
    const greeting = `${setting('word') ?? 'Hello'}, ${guest.name}!`;
    const dispatch = {
      target: { tag: 'subscribed' },
      eventType: 'greeting.made',
      contentType: 'application/json',
      payload: new TextEncoder().encode(JSON.stringify({ greeting })),
      headers: [],
      attributes: [],
    };
    return { tag: 'send', val: [dispatch] };
  },
};
