//! What a gateway says when it does not do something, as one line and an exit code.

use super::failure::Failure;
use serde::Deserialize;

/// An error of the API.
#[derive(Default, Deserialize)]
struct Said {
    message: String,
    #[serde(default)]
    details: Vec<Detail>,
    #[serde(default)]
    id: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    path: String,
    message: String,
}

/// The failure that an answer with that status and body to a call of that path is.
pub fn refused(status: u16, body: &str, path: &[&str]) -> Failure {
    let line = match serde_json::from_str(body) {
        Ok(said) => line(&said),
        Err(_) if status == 404 && body.trim().is_empty() => format!("no such {}", noun(path)),
        Err(_) => format!("the server answered {status}, and not as a gateway does"),
    };
    match status {
        404 => Failure::not_found(line),
        400..500 => Failure::refused(line),
        _ => Failure::unavailable(line),
    }
}

/// An error of the API as one line, where a body has one inside.
pub fn line_of(error: &serde_json::value::RawValue) -> String {
    serde_json::from_str(error.get()).map_or_else(|_| error.get().to_owned(), |said| line(&said))
}

/// The message, and what of the details it does not say itself.
fn line(said: &Said) -> String {
    let mut line = said.message.clone();
    for Detail { path, message } in &said.details {
        if *message == said.message {
            line.push_str(&format!(" ({path})"));
        } else if !line.contains(&format!("{path} {message}")) {
            line.push_str(&format!("; {path} {message}"));
        }
    }
    if let Some(id) = said.id.as_ref().filter(|id| !line.contains(*id)) {
        line.push_str(&format!(" ({id})"));
    }
    line
}

/// What a path leads to: the contract answers with nothing where an application or an endpoint is absent.
fn noun(path: &[&str]) -> &'static str {
    match path {
        [.., "endpoints", _] => "endpoint, or no such application",
        [.., "applications", _] => "application",
        _ => "thing; is the server a gateway?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_with_their_paths() {
        let table = [
            (
                422,
                r#"{"code":"invalid","message":"/url is required","details":[{"path":"/url","message":"is required"}]}"#,
                Failure::refused("/url is required"),
            ),
            (
                409,
                r#"{"code":"conflict","message":"the uid is taken","details":[{"path":"/uid","message":"the uid is taken"}]}"#,
                Failure::refused("the uid is taken (/uid)"),
            ),
            (
                422,
                r#"{"code":"schema","message":"does not fit: /payload/a is 1","details":[{"path":"/payload/a","message":"is 1"},{"path":"/payload/b","message":"is 2"}]}"#,
                Failure::refused("does not fit: /payload/a is 1; /payload/b is 2"),
            ),
            (
                409,
                r#"{"code":"conflict","message":"taken","details":[],"id":"01"}"#,
                Failure::refused("taken (01)"),
            ),
            (
                401,
                r#"{"code":"unauthorized","message":"the key is not valid"}"#,
                Failure::refused("the key is not valid"),
            ),
            (
                404,
                r#"{"code":"not_found","message":"no such message","details":[]}"#,
                Failure::not_found("no such message"),
            ),
            (404, "", Failure::not_found("no such application")),
            (
                404,
                "<html>",
                Failure::not_found("the server answered 404, and not as a gateway does"),
            ),
            (
                503,
                r#"{"code":"overloaded","message":"too much","details":[]}"#,
                Failure::unavailable("too much"),
            ),
            (500, "", Failure::unavailable("the server answered 500, and not as a gateway does")),
        ];
        for (status, body, expected) in table {
            assert_eq!(refused(status, body, &["applications", "hooli"]), expected, "{body}");
        }
    }
}
