//! Reads Rust, as far as `tidy` needs it: which paths a file names, on which line.
//!
//! A path is what `::` joins, with the trees of `use` written out: `use crate::{a, b::{c, d}}` names
//! `crate::a`, `crate::b::c` and `crate::b::d`. Comments and texts name nothing, nor does what is
//! only compiled for tests. It works on tokens and knows no scopes, so that a path which begins with
//! an imported name is only found where it is imported.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path with at least two parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    /// From 1.
    pub line: usize,
    /// Its parts.
    pub path: Vec<String>,
}

/// Every path of a source that is not a test's; an error is where it is not Rust.
pub fn mentions(source: &str) -> Result<Vec<Mention>, String> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("is not Rust: {error}"))?;
    let mut found = Vec::new();
    walk(tokens, &mut found);
    Ok(found)
}

fn walk(tokens: TokenStream, found: &mut Vec<Mention>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(_) => at = path(&tokens, at, &[], found),
            TokenTree::Punct(punct)
                if punct.as_char() == '#' && is_for_tests(tokens.get(at + 1)) =>
            {
                at = item_end(&tokens, at + 2);
            }
            TokenTree::Group(group) => {
                walk(group.stream(), found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads the path that starts here, behind `before`; where it ends.
fn path(tokens: &[TokenTree], start: usize, before: &[String], found: &mut Vec<Mention>) -> usize {
    let mut parts = before.to_vec();
    let mut at = start;
    let line = tokens[start].span().start().line;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => parts.push(ident.to_string()),
            Some(TokenTree::Group(tree)) if tree.delimiter() == Delimiter::Brace => {
                branches(tree, &parts, found);
                return at + 1;
            }
            // `a::*`, or a turbofish: the path is what came before.
            _ => break,
        }
        at += 1;
        if !(is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))) {
            break;
        }
        at += 2;
    }
    if parts.len() > 1 {
        found.push(Mention { line, path: parts });
    }
    at
}

/// The paths in the braces of a `use`.
fn branches(tree: &Group, before: &[String], found: &mut Vec<Mention>) {
    let tokens: Vec<TokenTree> = tree.stream().into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at] {
            TokenTree::Ident(ident) if ident == "as" => at + 2,
            TokenTree::Ident(_) => path(&tokens, at, before, found),
            _ => at + 1,
        };
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

/// Whether this is the `[cfg(test)]` of an attribute.
fn is_for_tests(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    let text: String = group.stream().into_iter().map(|token| token.to_string()).collect();
    group.delimiter() == Delimiter::Bracket && text == "cfg(test)"
}

/// One past the item that starts here: its `;` or its braces.
fn item_end(tokens: &[TokenTree], start: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens[start..].iter().position(ends).map_or(tokens.len(), |length| start + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_and_nothing_else() {
        let table: [(&str, &[&str]); 12] = [
            ("use a::b;", &["1 a::b"]),
            (
                "use crate::{\n a::b,\n c::{d, e::F as G},\n};",
                &["2 crate::a::b", "3 crate::c::d", "3 crate::c::e::F"],
            ),
            ("use a::*;", &[]),
            ("use a::b::*;", &["1 a::b"]),
            ("fn f() {\n a::g(x::<y::Z>());\n}", &["2 a::g", "2 y::Z"]),
            (
                "fn f(x: &'a a::T) -> b::U { match 'x' { _ => c::d! { e::f } } }",
                &["1 a::T", "1 b::U", "1 c::d", "1 e::f"],
            ),
            ("// a::b\n/* a::b */ const X: &str = \"a::b\"; const Y: &str = r#\"a::b\"#;", &[]),
            ("/// [`a::b`]\nfn f() {}", &[]),
            ("#[cfg(test)]\nmod tests { use a::b; }\nuse c::d;", &["3 c::d"]),
            ("#[cfg(test)]\nmod tests;\nuse c::d;", &["3 c::d"]),
            ("#[cfg(feature = \"x\")]\nmod m { use a::b; }", &["2 a::b"]),
            ("let a = b; a : b", &[]),
        ];
        for (source, expected) in table {
            let found = mentions(source).expect(source);
            let found: Vec<String> =
                found.iter().map(|m| format!("{} {}", m.line, m.path.join("::"))).collect();
            assert_eq!(found, expected, "{source}");
        }
        assert!(mentions("fn f( {").is_err());
    }
}
