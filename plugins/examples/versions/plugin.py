"""Gives each endpoint the shape of payload that it was built for.

The payload comes in the newest shape. An endpoint that is pinned to an older version gets it through every change since,
backwards. Each change is a function, with the version that made it."""

import json
from typing import Any, Callable

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import application, settings
from wit_world.imports.types import (
    Dispatch,
    Endpoint,
    Failure_Other,
    Failure_Reject,
    Message,
    Target_Endpoints,
    Verdict,
    Verdict_Drop,
    Verdict_Pass,
    Verdict_Send,
)

Payload = dict[str, Any]


def names_in_one(order: Payload) -> Payload:
    """2026-01-01 split a customer's name in two."""
    customer = dict(order["customer"])
    name = f"{customer.pop('givenName')} {customer.pop('familyName')}"
    return {**order, "customer": {**customer, "name": name}}


def amount_as_a_number(order: Payload) -> Payload:
    """2025-06-01 gave amounts their currency, and counts in cents."""
    amount = order["amount"]
    return {**order, "amount": amount["cents"] / 100, "currency": amount["currency"]}


# Newest first: a version, and how what it changed is undone, by event type.
CHANGES: list[tuple[str, dict[str, Callable[[Payload], Payload]]]] = [
    ("2026-01-01", {"order.placed": names_in_one, "order.shipped": names_in_one}),
    ("2025-06-01", {"order.placed": amount_as_a_number}),
    ("2024-01-01", {}),
]
NEWEST = CHANGES[0][0]
VERSIONS = [version for version, _ in CHANGES]


def in_version(version: str, event_type: str, payload: Payload) -> Payload:
    for made, undo in CHANGES:
        if made <= version:
            break
        if event_type in undo:
            payload = undo[event_type](payload)
    return payload


def subscribes(endpoint: Endpoint, message: Message) -> bool:
    """What the gateway itself asks where a plugin does not choose."""
    wants_type = not endpoint.event_types or message.event_type in endpoint.event_types
    wants_channel = not endpoint.channels or any(c in endpoint.channels for c in message.channels)
    return wants_type and wants_channel


def dispatch(version: str, endpoints: list[str], payload: Payload) -> Dispatch:
    return Dispatch(
        target=Target_Endpoints(sorted(endpoints)),
        event_type=None,
        content_type="application/json",
        payload=json.dumps(payload, ensure_ascii=False).encode(),
        headers=[("x-api-version", version)],
        ordering_key=None,
        delay=None,
        attributes=[],
    )


class Transformer(exports.Transformer):
    def on_message(self, message: Message) -> Verdict:
        pins: dict[str, str] = json.loads(settings.json()).get("pins", {})
        for name, version in pins.items():
            if version not in VERSIONS:
                known = ", ".join(VERSIONS)
                raise Err(Failure_Other(f"settings: {name} is pinned to {version}; there are {known}"))
        if not pins:
            return Verdict_Pass()
        wanted: dict[str, list[str]] = {}
        for endpoint in application.endpoints():
            if subscribes(endpoint, message):
                version = pins.get(endpoint.uid or "", pins.get(endpoint.id, NEWEST))
                wanted.setdefault(version, []).append(endpoint.uid or endpoint.id)
        if not wanted:
            return Verdict_Drop("no endpoint subscribes to it")
        try:
            payload = json.loads(message.payload)
            shapes = {version: in_version(version, message.event_type, payload) for version in wanted}
        except (ValueError, KeyError, TypeError) as error:
            raise Err(Failure_Reject(f"payload: not in the shape of {NEWEST}: {error!r}"))
        return Verdict_Send([dispatch(v, wanted[v], shapes[v]) for v in sorted(wanted, reverse=True)])
