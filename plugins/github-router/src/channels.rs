//! From a repository and a branch to channels. For `on_message`; pure.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest channel this plugin makes, in characters.
const MAX_LEN: usize = 128;

/// What an application may configure.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Routes {
    /// Pattern (`owner/name`, `owner/*` or `*`, each with `#branch` or without) to channels.
    channels: BTreeMap<String, Vec<String>>,
}

impl Routes {
    /// The message's own channels, then `repo:…`, `branch:…`, and those of every pattern that
    /// matches, in the patterns' alphabetical order; each once.
    pub fn channels(&self, own: &[String], repository: &str, branch: Option<&str>) -> Vec<String> {
        let mut channels = own.to_vec();
        let mut add = |channel: String| {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        };
        add(channel("repo:", repository));
        if let Some(branch) = branch {
            add(channel("branch:", branch));
        }
        for (pattern, configured) in &self.channels {
            if matches(pattern, repository, branch) {
                configured.iter().cloned().for_each(&mut add);
            }
        }
        channels
    }
}

/// A channel of ASCII letters, digits and `._/:-`; any other character becomes `-`.
fn channel(prefix: &str, name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._/:-".contains(c);
    let plain = name.chars().map(|c| if allowed(c) { c } else { '-' });
    prefix.chars().chain(plain).take(MAX_LEN).collect()
}

/// Repositories are compared as GitHub does, whatever the case; branches exactly.
fn matches(pattern: &str, repository: &str, branch: Option<&str>) -> bool {
    let (wanted, on) = match pattern.split_once('#') {
        Some((wanted, on)) => (wanted, Some(on)),
        None => (pattern, None),
    };
    if on.is_some() && on != branch {
        return false;
    }
    match wanted.strip_suffix("/*") {
        Some(owner) => {
            repository.split('/').next().is_some_and(|found| found.eq_ignore_ascii_case(owner))
        }
        None => wanted == "*" || wanted.eq_ignore_ascii_case(repository),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_repositories_and_branches() {
        let cases = [
            ("octo/hello", "Octo/Hello", None, true),
            ("octo/hello", "octo/hello", Some("main"), true),
            ("octo/hello", "octo/hello2", None, false),
            ("octo/hello#main", "octo/hello", Some("main"), true),
            ("octo/hello#main", "octo/hello", Some("Main"), false),
            ("octo/hello#main", "octo/hello", None, false),
            ("octo/*", "octo/hello", None, true),
            ("octo/*#main", "octo/hello", Some("main"), true),
            ("octo/*", "octocat/hello", None, false),
            ("*", "octo/hello", None, true),
            ("*#main", "octo/hello", Some("dev"), false),
        ];
        for (pattern, repository, branch, expected) in cases {
            assert_eq!(matches(pattern, repository, branch), expected, "{pattern} {repository}");
        }
    }

    #[test]
    fn channels_are_plain_and_short() {
        assert_eq!(channel("repo:", "octo/hello.rs"), "repo:octo/hello.rs");
        assert_eq!(channel("branch:", "fix/née#1 2"), "branch:fix/n-e-1-2");
        assert_eq!(channel("branch:", &"é".repeat(500)).len(), MAX_LEN);
    }
}
