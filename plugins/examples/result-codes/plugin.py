"""Reads what receivers mean that answer 200 to everything, and say in the body whether they took it."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.classifier import (
    Answer,
    Meaning,
    Meaning_Disable,
    Meaning_Fail,
    Meaning_RetryAfter,
    Meaning_Success,
)
from wit_world.imports import settings

# What the settings may say otherwise.
USUAL = {
    "field": "result",
    "wait": "retryAfterMs",
    "success": ["ok"],
    "retry": ["busy"],
    "fail": ["invalid"],
    "disable": ["unsubscribed"],
}


def result(body: bytes, field: str) -> tuple[dict, str]:
    try:
        answer = json.loads(body)
        return answer, answer[field]
    except (ValueError, KeyError, TypeError) as error:
        # The gateway goes by the status, and this is in its log.
        raise Err(f"no `{field}` in the answer: {error}")


class Classifier(exports.Classifier):
    def classify(self, answer: Answer) -> Meaning:
        ways = USUAL | json.loads(settings.json())
        said, code = result(answer.body, ways["field"])
        if code in ways["success"]:
            return Meaning_Success()
        if code in ways["retry"]:
            wait = said.get(ways["wait"])
            return Meaning_RetryAfter(wait if type(wait) is int and 0 <= wait < 2**64 else None)
        if code in ways["fail"]:
            return Meaning_Fail()
        if code in ways["disable"]:
            return Meaning_Disable()
        raise Err(f"nobody said what `{code}` means")
