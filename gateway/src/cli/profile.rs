//! Which gateway, and with which key: from flags, from the environment, or from a file of profiles, so that a key need
//! not be on a command line. What is missing is said with every place where it could be.

use super::failure::{Failure, Outcome};
use clap::Args;
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// Where the gateway is, and who asks.
#[derive(Args)]
pub struct Connection {
    /// The gateway, like https://hooks.example.com [env: OCTOHOOKS_SERVER]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    server: Option<String>,
    /// The key; others may see a command's flags, so better not here [env: OCTOHOOKS_KEY]
    #[arg(long, global = true, help_heading = "Connection")]
    key: Option<String>,
    /// Take both from this profile, whatever the environment says [default: default]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    profile: Option<String>,
    /// Where profiles are [default: ~/.config/octohooks/profiles.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    profile_file: Option<PathBuf>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A gateway and a key of it.
#[derive(PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub server: String,
    /// The key.
    pub key: String,
}

#[derive(Clone, Default)]
struct Profile {
    server: Option<String>,
    key: Option<String>,
}

impl Profile {
    /// What is missing here is taken from the next.
    fn or(self, next: Self) -> Self {
        Self { server: self.server.or(next.server), key: self.key.or(next.key) }
    }

    const fn is_complete(&self) -> bool {
        self.server.is_some() && self.key.is_some()
    }
}

/// The world as a profile is looked for in it.
pub struct World<'a> {
    /// A variable's value.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// A file's text.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Connection {
    /// From this process's environment and the files of this machine.
    pub fn target(self) -> Outcome<Target> {
        let variable = |name: &str| std::env::var(name).ok();
        self.target_in(&World { variable: &variable, read: &|path| std::fs::read_to_string(path) })
    }

    fn target_in(self, world: &World<'_>) -> Outcome<Target> {
        let set = |text: &String| !text.trim().is_empty();
        let variable = |name: &str| (world.variable)(name).filter(set);
        let from_variables =
            Profile { server: variable("OCTOHOOKS_SERVER"), key: variable("OCTOHOOKS_KEY") };
        let flags = Profile { server: self.server.filter(set), key: self.key.filter(set) };
        let named = self.profile.clone().or_else(|| variable("OCTOHOOKS_PROFILE"));
        let file = self.profile_file.or_else(|| variable("OCTOHOOKS_PROFILE_FILE").map(Into::into));
        let sought = Sought {
            name: named.clone().unwrap_or_else(|| "default".to_owned()),
            is_named: named.is_some(),
            is_given: file.is_some(),
            file: file.or_else(|| usual_file(variable)),
        };
        // Whoever names a profile in a command means it, whatever a shell has left over.
        let found = match self.profile {
            Some(_) => flags.or(sought.read(world)?).or(from_variables),
            None => match flags.or(from_variables) {
                complete if complete.is_complete() => complete,
                partial => partial.or(sought.read(world)?),
            },
        };
        match (found.server, found.key) {
            (Some(server), Some(key)) => Ok(Target { server, key: key.trim().to_owned() }),
            (None, _) => Err(sought.missing("server", "--server URL", "OCTOHOOKS_SERVER")),
            (_, None) => Err(sought.missing("key", "--key KEY", "OCTOHOOKS_KEY")),
        }
    }
}

fn usual_file(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = || variable("HOME").map(|home| Path::new(&home).join(".config"));
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some(folder.join("octohooks/profiles.toml"))
}

/// The profile that is looked for.
struct Sought {
    name: String,
    /// Whether somebody asked for it, so that its absence is an error.
    is_named: bool,
    file: Option<PathBuf>,
    is_given: bool,
}

impl Sought {
    fn read(&self, world: &World<'_>) -> Outcome<Profile> {
        let Some(file) = &self.file else {
            return match self.is_named {
                true => Err(Failure::usage("which file of profiles? Give --profile-file FILE")),
                false => Ok(Profile::default()),
            };
        };
        let shown = file.display();
        let text = match (world.read)(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match self.is_named || self.is_given {
                    true => Err(Failure::usage(format!("there is no file of profiles {shown}"))),
                    false => Ok(Profile::default()),
                };
            }
            Err(error) => return Err(Failure::usage(format!("cannot read {shown}: {error}"))),
        };
        let mut profiles =
            parse(&text).map_err(|wrong| Failure::usage(format!("{shown}{wrong}")))?;
        match profiles.remove(&self.name) {
            Some(profile) => Ok(profile),
            None if self.is_named => {
                let known: Vec<String> = profiles.into_keys().collect();
                let (name, known) = (&self.name, known.join(", "));
                Err(Failure::usage(format!("no profile `{name}` in {shown}, which has: {known}")))
            }
            None => Ok(Profile::default()),
        }
    }

    fn missing(&self, what: &str, flag: &str, variable: &str) -> Failure {
        let file = self.file.as_deref().unwrap_or_else(|| Path::new("a file of profiles"));
        let (name, file) = (&self.name, file.display());
        Failure::usage(format!(
            "which {what}? Give {flag}, or set {variable}, or write `{what} = \"…\"` below [{name}] in {file}"
        ))
    }
}

/// The profiles in a file. An error says where, and never shows what is there, which may be a key.
fn parse(text: &str) -> Result<BTreeMap<String, Profile>, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        format!(":{line}: is not TOML")
    })?;
    let profile = |(name, fields): (String, Value)| {
        let Value::Table(fields) = fields else {
            return Err(format!(": `{name}` must be a table, [{name}]"));
        };
        let mut profile = Profile::default();
        for (field, value) in fields {
            let place = match field.as_str() {
                "server" => &mut profile.server,
                "key" => &mut profile.key,
                _ => return Err(format!(": [{name}] has `{field}`; it may have server and key")),
            };
            match value {
                Value::String(text) => *place = Some(text),
                _ => return Err(format!(": `{field}` of [{name}] must be a text")),
            }
        }
        Ok((name, profile))
    };
    table.into_iter().map(profile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[default]\nserver = \"http://file\"\nkey = \"file-key\"\n\
                        [other]\nserver = \"http://other\"\n";

    fn target(
        flags: [Option<&str>; 4],
        variables: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<String, String> {
        let [server, key, profile, path] = flags.map(|flag| flag.map(str::to_owned));
        let connection = Connection { server, key, profile, profile_file: path.map(Into::into) };
        let variable = |name: &str| {
            let home = [("HOME", "/home/me")];
            let mut all = variables.iter().chain(&home);
            all.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let read = |path: &Path| match file {
            Some(text) if path == Path::new("/home/me/.config/octohooks/profiles.toml") => {
                Ok(text.to_owned())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let found = connection.target_in(&World { variable: &variable, read: &read });
        found
            .map(|target| format!("{} {}", target.server, target.key))
            .map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn flags_then_variables_then_the_file() {
        let none = [None; 4];
        let both = [("OCTOHOOKS_SERVER", "http://env"), ("OCTOHOOKS_KEY", "env-key")];
        let server = [Some("http://flag"), None, None, None];
        let other = [None, None, Some("other"), None];
        let table = [
            (none, &both[..0], "http://file file-key"),
            (none, &both, "http://env env-key"),
            (none, &both[..1], "http://env file-key"),
            (server, &both, "http://flag env-key"),
            (server, &both[..0], "http://flag file-key"),
            ([Some("http://flag"), Some("flag-key"), None, None], &both, "http://flag flag-key"),
            // A profile that a flag names is a flag; one that is only there by default comes last.
            (other, &both, "http://other env-key"),
            (none, &[("OCTOHOOKS_PROFILE", "other"), both[1]], "http://other env-key"),
            (none, &[("OCTOHOOKS_PROFILE", "other"), both[0], both[1]], "http://env env-key"),
            // Empty is unset.
            (none, &[("OCTOHOOKS_SERVER", ""), ("OCTOHOOKS_KEY", " ")], "http://file file-key"),
        ];
        for (flags, variables, expected) in table {
            let found = target(flags, variables, Some(FILE));
            assert_eq!(found.as_deref(), Ok(expected), "{flags:?} {variables:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said_and_a_key_never() {
        let none = [None; 4];
        let table = [
            (none, None, "which server? Give --server URL, or set OCTOHOOKS_SERVER, or write"),
            ([Some("http://flag"), None, None, None], None, "which key? Give --key KEY"),
            ([None, None, Some("other"), None], Some(FILE), "below [other] in /home/me/.config"),
            ([None, None, Some("third"), None], Some(FILE), "no profile `third` in /home"),
            ([None, None, Some("third"), None], None, "there is no file of profiles"),
            ([None, None, None, Some("/lost")], Some(FILE), "no file of profiles /lost"),
            (none, Some("[default]\nkey = s3cret\n"), "profiles.toml:2: is not TOML"),
            (none, Some("[default]\nkey = 123456\n"), "`key` of [default] must be a text"),
            (none, Some("[default]\nkez = \"s3cret\"\n"), "[default] has `kez`"),
            (none, Some("key = \"s3cret\"\n"), "`key` must be a table"),
        ];
        for (flags, file, expected) in table {
            let said = target(flags, &[], file).expect_err(expected);
            assert!(said.contains(expected) && said.contains("code: 2"), "{expected}: {said}");
            assert!(!said.contains("s3cret") && !said.contains("123456"), "{said}");
        }
    }
}
