//! What is not to be seen in a text: as it is, and as a receiver spells it that says what it was sent in JSON or in a query.

/// Has `instead` wherever the bytes have that text: byte for byte, with JSON's escapes, or percent-encoded.
pub fn hide(bytes: &mut Vec<u8>, text: &str, instead: &str) {
    let (text, instead) = (text.as_bytes(), instead.as_bytes());
    replace(bytes, &places(bytes, text, |at| at), instead);
    if bytes.iter().any(|byte| matches!(byte, b'\\' | b'%')) {
        let (read, from) = unescaped(bytes);
        replace(bytes, &places(&read, text, |at| from[at]), instead);
    }
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

fn replace(bytes: &mut Vec<u8>, places: &[(usize, usize)], instead: &[u8]) {
    // Most answers have none.
    if places.is_empty() {
        return;
    }
    let (mut replaced, mut at) = (Vec::with_capacity(bytes.len()), 0);
    for (start, end) in places {
        replaced.extend_from_slice(&bytes[at..*start]);
        replaced.extend_from_slice(instead);
        at = *end;
    }
    replaced.extend_from_slice(&bytes[at..]);
    *bytes = replaced;
}

/// What is read of the bytes, and where each of it, and the end, was.
fn unescaped(bytes: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut read, mut from, mut at) = (Vec::with_capacity(bytes.len()), Vec::new(), 0);
    while let Some(first) = bytes.get(at) {
        let mut utf8 = [*first, 0, 0, 0];
        let (length, wide) = escape(&bytes[at..], &mut utf8).unwrap_or((1, 1));
        read.extend_from_slice(&utf8[..wide]);
        from.extend(std::iter::repeat_n(at, wide));
        at += length;
    }
    from.push(at);
    (read, from)
}

/// How many bytes an escape is, and how many of `utf8` what it stands for.
fn escape(bytes: &[u8], utf8: &mut [u8; 4]) -> Option<(usize, usize)> {
    let (length, character) = match bytes {
        [b'\\', b'u', a, b, c, d, ..] => (6, char::from_u32(number(&[*a, *b, *c, *d])?)?),
        [b'\\', next, ..] => (2, control(*next)),
        [b'%', a, b, ..] => {
            utf8[0] = u8::try_from(number(&[*a, *b])?).ok()?;
            return Some((3, 1));
        }
        _ => return None,
    };
    Some((length, character.encode_utf8(utf8).len()))
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
            let mut found = bytes.as_bytes().to_vec();
            hide(&mut found, text, "-");
            assert_eq!(String::from_utf8_lossy(&found), expected, "{text} in {bytes}");
        }
    }
}
