"""Verifies requests with PyPI's `standardwebhooks`. In: a list of {body (base64), headers, secrets}; out: for each, whether
it verifies by each of its secrets."""

import base64
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def verifies(request, secret):
    try:
        Webhook(secret).verify(base64.b64decode(request["body"]), request["headers"])
        return True
    except WebhookVerificationError:
        return False


requests = json.load(sys.stdin)
print(json.dumps([[verifies(request, secret) for secret in request["secrets"]] for request in requests]))
