//! What is not to be seen in a text: as it is, and as a receiver spells it that says what it was sent in JSON or in a query.

/// The bytes, with `instead` wherever they have that text.
pub fn without(bytes: &[u8], text: &str, instead: &str) -> Vec<u8> {
    let (mut without, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match spelt(&bytes[at..], text.as_bytes()) {
            Some(length) => {
                without.extend_from_slice(instead.as_bytes());
                at += length;
            }
            None => {
                without.push(*byte);
                at += 1;
            }
        }
    }
    without
}

/// How many bytes the text is there, if they begin with it.
fn spelt(bytes: &[u8], text: &[u8]) -> Option<usize> {
    if bytes.starts_with(text) {
        return Some(text.len());
    }
    text.iter().try_fold(0, |at, byte| Some(at + escaped(&bytes[at..], *byte)?))
}

/// How many bytes this one is there, perhaps escaped.
fn escaped(bytes: &[u8], byte: u8) -> Option<usize> {
    let is = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        u8::from_str_radix(digits, 16) == Ok(byte)
    };
    match bytes {
        [b'\\', b'u', b'0', b'0', digits @ ..] if digits.len() > 1 && is(&digits[..2]) => Some(6),
        [b'\\', next, ..] if *next == byte => Some(2),
        [b'%', digits @ ..] if digits.len() > 1 && is(&digits[..2]) => Some(3),
        [first, ..] if *first == byte && byte != b'\\' => Some(1),
        _ => None,
    }
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
            ("kk/1", "k/1", "k-"),
            ("k/1k/1", "k/1", "--"),
            ("k/2 k% k\\", "k/1", "k/2 k% k\\"),
            ("", "k", ""),
        ] {
            let found = without(bytes.as_bytes(), text, "-");
            assert_eq!(String::from_utf8_lossy(&found), expected, "{text} in {bytes}");
        }
    }
}
