// Drops payloads that are too large, and says of the others how large they are.
//
// `transform.h` is made of the contract in `wit` by `octohooks plugin build`, into `build`. Each call runs in an instance
// of its own, so that what is allocated need not be freed.

#include "transform.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef exports_octohooks_plugin_transformer_message_t message_t;
typedef exports_octohooks_plugin_transformer_verdict_t verdict_t;
typedef exports_octohooks_plugin_transformer_failure_t failure_t;

static size_t maximum(void) {
    transform_string_t key, value;
    transform_string_set(&key, "maximumBytes");
    if (!octohooks_plugin_settings_get(&key, &value)) return 1000;
    char text[21] = {0};
    memcpy(text, value.ptr, value.len < 20 ? value.len : 20);
    return strtoul(text, NULL, 10);
}

bool exports_octohooks_plugin_transformer_on_message(message_t *message, verdict_t *verdict, failure_t *failure) {
    size_t bytes = message->payload.len;
    if (bytes > maximum()) {
        verdict->tag = OCTOHOOKS_PLUGIN_TYPES_VERDICT_DROP;
        transform_string_dup(&verdict->val.drop, "the payload is too large");
        return true;
    }
    char text[21];
    snprintf(text, sizeof text, "%zu", bytes);
    octohooks_plugin_types_pair_t *header = calloc(1, sizeof *header);
    transform_string_dup(&header->f0, "x-payload-bytes");
    transform_string_dup(&header->f1, text);
    octohooks_plugin_types_dispatch_t *dispatch = calloc(1, sizeof *dispatch);
    dispatch->target.tag = OCTOHOOKS_PLUGIN_TYPES_TARGET_SUBSCRIBED;
    dispatch->headers.ptr = header;
    dispatch->headers.len = 1;
    verdict->tag = OCTOHOOKS_PLUGIN_TYPES_VERDICT_SEND;
    verdict->val.send.ptr = dispatch;
    verdict->val.send.len = 1;
    return true;
}
