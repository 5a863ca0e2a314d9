// Masks the numbers of payment cards wherever they are in a payload, and leaves every other byte as it is.
//
// A card's number has 13 to 19 digits, perhaps with single spaces or hyphens between, and a right check digit (Luhn's sum,
// ISO/IEC 7812). All but its last four digits become `*`. A number of JSON that is one becomes a text.

#include "transform.h"
#include <stdlib.h>
#include <string.h>

typedef exports_octohooks_plugin_transformer_message_t message_t;
typedef exports_octohooks_plugin_transformer_verdict_t verdict_t;
typedef exports_octohooks_plugin_transformer_failure_t failure_t;

enum { FEWEST = 13, MOST = 19, SHOWN = 4 };

static bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static bool has_check_digit(const uint8_t *digits, size_t count) {
    unsigned sum = 0;
    for (size_t at = 0; at < count; at++) {
        unsigned digit = digits[count - 1 - at] - '0';
        if (at % 2 == 1) digit = digit > 4 ? digit * 2 - 9 : digit * 2;
        sum += digit;
    }
    return sum % 10 == 0;
}

// How many bytes from here are one run of digits with their separators, and what its digits are. Too many digits are
// counted too, so that no part of a longer number is taken for a card's.
static size_t run(const uint8_t *from, const uint8_t *end, bool separators, uint8_t *digits, size_t *count) {
    const uint8_t *at = from;
    *count = 0;
    while (at < end) {
        if (is_digit(*at)) {
            if (*count < MOST) digits[*count] = *at;
            (*count)++;
            at++;
        } else if (separators && (*at == ' ' || *at == '-') && at + 1 < end && is_digit(at[1])) {
            at++;
        } else {
            break;
        }
    }
    return (size_t)(at - from);
}

// The payload with its cards masked: how many they were. `out` has room for it.
static size_t mask(const uint8_t *at, const uint8_t *end, uint8_t *out, size_t *length) {
    uint8_t *start = out;
    bool in_text = false;
    size_t cards = 0;
    while (at < end) {
        if (in_text && *at == '\\') {
            // An escape, with the four digits of a `\u`.
            size_t bytes = at + 1 < end && at[1] == 'u' ? 6 : 2;
            if (bytes > (size_t)(end - at)) bytes = (size_t)(end - at);
            memcpy(out, at, bytes);
            out += bytes;
            at += bytes;
            continue;
        }
        if (*at == '"') in_text = !in_text;
        if (!is_digit(*at)) {
            *out++ = *at++;
            continue;
        }
        uint8_t digits[MOST];
        size_t count;
        size_t bytes = run(at, end, in_text, digits, &count);
        bool is_card = count >= FEWEST && count <= MOST && has_check_digit(digits, count);
        if (!in_text && is_card) {
            // Part of a fraction, or before one, it is no card's; nor is what is below zero.
            uint8_t after = at + bytes < end ? at[bytes] : ' ';
            uint8_t before = out > start ? out[-1] : ' ';
            is_card = after != '.' && (after | 32) != 'e' && before != '.' && before != '-' && before != '+';
        }
        if (!is_card) {
            memcpy(out, at, bytes);
            out += bytes;
            at += bytes;
            continue;
        }
        cards++;
        if (!in_text) *out++ = '"';
        size_t hidden = count - SHOWN;
        for (size_t n = 0; n < bytes; n++) {
            bool hide = is_digit(at[n]) && hidden > 0;
            if (hide) hidden--;
            *out++ = hide ? '*' : at[n];
        }
        if (!in_text) *out++ = '"';
        at += bytes;
    }
    *length = (size_t)(out - start);
    return cards;
}

bool exports_octohooks_plugin_transformer_on_message(message_t *message, verdict_t *verdict, failure_t *failure) {
    (void)failure;
    const uint8_t *payload = message->payload.ptr;
    // Quotation marks are what is added: two for thirteen digits at least.
    uint8_t *masked = malloc(message->payload.len * 2 + 1);
    size_t length;
    if (mask(payload, payload + message->payload.len, masked, &length) == 0) {
        verdict->tag = OCTOHOOKS_PLUGIN_TYPES_VERDICT_PASS;
        return true;
    }
    octohooks_plugin_types_dispatch_t *dispatch = calloc(1, sizeof *dispatch);
    dispatch->target.tag = OCTOHOOKS_PLUGIN_TYPES_TARGET_SUBSCRIBED;
    dispatch->payload.is_some = true;
    dispatch->payload.val.ptr = masked;
    dispatch->payload.val.len = length;
    verdict->tag = OCTOHOOKS_PLUGIN_TYPES_VERDICT_SEND;
    verdict->val.send.ptr = dispatch;
    verdict->val.send.len = 1;
    return true;
}
