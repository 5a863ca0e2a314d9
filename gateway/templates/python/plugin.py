"""Greets whoever a message names."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log, settings
from wit_world.imports.types import (
    Dispatch,
    Failure_Reject,
    Message,
    Target_Subscribed,
    Verdict,
    Verdict_Send,
)


class Transformer(exports.Transformer):
    def on_message(self, message: Message) -> Verdict:
        try:
            name = json.loads(message.payload)["name"]
        except (ValueError, KeyError, TypeError) as error:
            # The message will never work.
            raise Err(Failure_Reject(f"payload: {error}"))
        log.write(log.Level.INFO, f"greeting {name}")
        greeting = f"{settings.get('word') or 'Hello'}, {name}!"
        return Verdict_Send([
            Dispatch(
                target=Target_Subscribed(),
                event_type="greeting.made",
                content_type="application/json",
                payload=json.dumps({"greeting": greeting}).encode(),
                headers=[],
                ordering_key=None,
                delay=None,
                attributes=[],
            )
        ])
