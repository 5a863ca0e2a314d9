// Asks for a longer wait with each answer: a millisecond for every one that it has seen.

#include "own_world.h"
#include <string.h>

static unsigned char seen = 0;

bool exports_octohooks_plugin_classifier_classify(
    exports_octohooks_plugin_classifier_answer_t *answer,
    exports_octohooks_plugin_classifier_meaning_t *meaning,
    own_world_string_t *failure) {
    own_world_string_t key;
    own_world_string_set(&key, "seen");
    octohooks_plugin_keyvalue_keyvalue_error_t error;
    octohooks_plugin_keyvalue_option_entry_t entry;
    if (!octohooks_plugin_keyvalue_get(&key, &entry, &error)) {
        own_world_string_dup(failure, "no store");
        return false;
    }
    if (entry.is_some && entry.val.value.len == 1) seen = entry.val.value.ptr[0];
    seen++;
    own_world_list_u8_t value = {&seen, 1};
    uint64_t version;
    if (!octohooks_plugin_keyvalue_set(&key, &value, NULL, &version, &error)) {
        own_world_string_dup(failure, "nothing is kept");
        return false;
    }
    meaning->tag = EXPORTS_OCTOHOOKS_PLUGIN_CLASSIFIER_MEANING_RETRY_AFTER;
    meaning->val.retry_after.is_some = true;
    meaning->val.retry_after.val = seen;
    return true;
}
