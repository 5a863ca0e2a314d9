//! What is not to be seen in a text: as it is, and as a receiver spells it that says what it was sent in JSON or in a query.

/// The bytes, with `instead` wherever they have that text: byte for byte, with JSON's escapes, or percent-encoded.
pub fn without(bytes: &[u8], text: &str, instead: &str) -> Vec<u8> {
    let (text, instead) = (text.as_bytes(), instead.as_bytes());
    let mut left = replaced(bytes, &places(bytes, text, |at| at), instead);
    if left.iter().any(|byte| matches!(byte, b'\\' | b'%')) {
        let (read, from) = unescaped(&left);
        left = replaced(&left, &places(&read, text, |at| from[at]), instead);
    }
    left
}

/// Where the text is, as ranges of what `from` leads back to.
fn places(bytes: &[u8], text: &[u8], from: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
    let (mut places, mut at) = (Vec::new(), 0);
    if text.is_empty() {
        return places;
    }
    while let Some(next) = bytes[at..].windows(text.len()).position(|part| part == text) {
        let (start, end) = (at + next, at + next + text.len());
        places.push((from(start), from(end)));
        at = end;
    }
    places
}

fn replaced(bytes: &[u8], places: &[(usize, usize)], instead: &[u8]) -> Vec<u8> {
    let (mut replaced, mut at) = (Vec::with_capacity(bytes.len()), 0);
    for (start, end) in places {
        replaced.extend_from_slice(&bytes[at..*start]);
        replaced.extend_from_slice(instead);
        at = *end;
    }
    replaced.extend_from_slice(&bytes[at..]);
    replaced
}

/// What is read of the bytes, and where each of it, and the end, was.
fn unescaped(bytes: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut read, mut from, mut at) = (Vec::with_capacity(bytes.len()), Vec::new(), 0);
    while let Some(first) = bytes.get(at) {
        let (length, character) = match &bytes[at..] {
            [b'\\', b'u', a, b, c, d, ..] => {
                (6, number(&[*a, *b, *c, *d]).and_then(char::from_u32))
            }
            [b'\\', next, ..] => (2, Some(control(*next))),
            _ => (1, None),
        };
        let percent = match &bytes[at..] {
            [b'%', a, b, ..] => number(&[*a, *b]).and_then(|byte| u8::try_from(byte).ok()),
            _ => None,
        };
        let mut utf8 = [0; 4];
        let (length, what) = match (character, percent) {
            (Some(character), _) => (length, character.encode_utf8(&mut utf8).as_bytes()),
            (None, Some(byte)) => {
                utf8[0] = byte;
                (3, &utf8[..1])
            }
            (None, None) => (1, std::slice::from_ref(first)),
        };
        read.extend_from_slice(what);
        from.extend(what.iter().map(|_| at));
        at += length;
    }
    from.push(at);
    (read, from)
}

/// What a backslash and that mean.
fn control(next: u8) -> char {
    match next {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(other),
    }
}

/// Digits to the base of 16, if all are.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_it_is_spelt() {
        for (bytes, text, expected) in [
            ("a k/1+2== b", "k/1+2==", "a - b"),
            (r#"{"a":"k\/1+2=="}"#, "k/1+2==", r#"{"a":"-"}"#),
            (r"k\u002f1\u002B2\u003d=", "k/1+2==", "-"),
            ("x=k%2F1%2b2%3D%3D&y", "k/1+2==", "x=-&y"),
            (r#"k\"e\\y\/1"#, r#"k"e\y/1"#, "-"),
            (r"a\\b", r"a\\b", "-"),
            (r"caf\u00e9!", "café", "-!"),
            (r"a\tb", "a\tb", "-"),
            ("kk/1", "k/1", "k-"),
            ("k/1k/1", "k/1", "--"),
            (r"k\/1k/1k%2f1", "k/1", "---"),
            ("k/2 k% %+9 k\\", "k/1", "k/2 k% %+9 k\\"),
            (r"\uzzzz\u12", "z", r"\u----\u12"),
            ("", "k", ""),
        ] {
            let found = without(bytes.as_bytes(), text, "-");
            assert_eq!(String::from_utf8_lossy(&found), expected, "{text} in {bytes}");
        }
    }
}
