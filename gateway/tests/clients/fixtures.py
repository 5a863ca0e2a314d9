"""What schemathesis is told about the gateway that it calls: what is there to be found, and where nothing may be sent.

schemathesis loads it (SCHEMATHESIS_HOOKS). FIXTURES is JSON: `keys` has the key of a caller and the root key, `parts` what
stands in paths, `own` what stands in the paths of some calls instead ("delete /applications/{app}"), `bodies` what some calls
send until they have done what they are for, `receiver` is the URL of a receiver, and `component` the file of a plugin. What was answered goes to the file ANSWERS: method, path, status.
"""

import json
import os
import pathlib
import zlib

import schemathesis

FIXTURES = json.loads(os.environ["FIXTURES"])


# The calls that have done what they are for.
done = set()


def call_of(case):
    return f"{case.method.lower()} {case.operation.path}"


def one_in(count, value):
    """The same for the same value, in every run."""
    return zlib.crc32(repr(value).encode()) % count == 0


@schemathesis.hook
def before_call(context, case, kwargs):
    call = call_of(case)
    root = case.operation.path.startswith("/environments")
    case.headers["Authorization"] = FIXTURES["keys"]["root" if root else "caller"]
    # Almost all would be the same key for another request.
    if not one_in(8, case.body):
        case.headers.pop("Idempotency-Key", None)

    # Most calls are about what is there; the others show what is said of the rest. Only what is there for that is deleted.
    known = FIXTURES["parts"] | FIXTURES["own"].get(call, {})
    always = call not in done or call.startswith("delete ")
    for name, value in (case.path_parameters or {}).items():
        if name in known and (always or not one_in(4, value)):
            case.path_parameters[name] = known[name]

    # The guard lets public addresses through, and names are looked up: what might be called is always the receiver.
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("url"), str):
        visible = "".join(letter for letter in body["url"] if letter > " ")
        if visible.lower().startswith("http"):
            case.body = body | {"url": FIXTURES["receiver"]}

    # Nobody guesses what goes together, nor a digest.
    if call not in done and call in FIXTURES["bodies"]:
        case.body = FIXTURES["bodies"][call]
    if isinstance(body, dict) and "digest" in body and (call not in done or not one_in(4, body["digest"])):
        case.body = body | {"digest": FIXTURES["parts"]["digest"]}


@schemathesis.serializer("application/wasm")
def component(context, value):
    """What is to be a component is one, now and then."""
    sent = getattr(value, "data", value)
    if call_of(context.case) not in done or one_in(2, sent):
        return pathlib.Path(FIXTURES["component"]).read_bytes()
    return sent if isinstance(sent, bytes) else repr(sent).encode()


@schemathesis.hook
def after_call(context, case, response):
    if 200 <= response.status_code < 300:
        done.add(call_of(case))
    with open(os.environ["ANSWERS"], "a", encoding="utf-8") as answers:
        answers.write(f"{call_of(case)} {response.status_code}\n")
