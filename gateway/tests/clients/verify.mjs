// Verifies requests with npm's `standardwebhooks`. In: a list of {body (base64), headers, secrets}; out: for each, whether
// it verifies by each of its secrets.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { Webhook } = createRequire(`${process.env.WEBHOOK_CLIENTS}/`)("standardwebhooks");

const verified = ({ body, headers, secrets }) =>
  secrets.map((secret) => {
    try {
      new Webhook(secret).verify(Buffer.from(body, "base64").toString(), headers);
      return true;
    } catch (error) {
      // Anything else is a fault of this script.
      if (error.constructor.name !== "WebhookVerificationError") throw error;
      return false;
    }
  });

console.log(JSON.stringify(JSON.parse(readFileSync(0)).map(verified)));
