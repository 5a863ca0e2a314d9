//! What a component is, or a definition, read off its bytes. For `octohooks plugin inspect`.

use super::Problem;
use crate::{
    model::id::Digest,
    plugin::{Host, Options, Surface, is_definition},
};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The package of the contract, as names begin.
const PACKAGE: &str = "octohooks:plugin/";

/// What a component's names and bytes say.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Anatomy {
    /// `transform`, `sign` or `classify`; none if it is no plugin.
    pub kind: Option<&'static str>,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// The contract's version that it was built for.
    pub contract: Option<String>,
    /// The grants that it needs.
    pub grants: Vec<&'static str>,
    /// What it imports, and which grant that needs.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
    /// What its settings must look like, if it says: a JSON Schema.
    pub schema: Option<Value>,
    /// What it says is to be done, if it is the definition of a transform without code.
    pub definition: Option<Value>,
    /// Why a gateway would refuse it; none if one would take it.
    pub refused: Option<String>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// As the component has it.
    pub name: String,
    /// What it needs.
    pub needs: Needs,
}

impl Import {
    fn grant(&self) -> Option<&'static str> {
        match self.needs {
            Needs::Grant(grant) => Some(grant),
            _ => None,
        }
    }
}

/// What an import needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// Nothing: plugins of its kind have it.
    Nothing,
    /// Nothing: it is there, with nothing behind it.
    Empty,
    /// A grant of that name.
    Grant(&'static str),
    /// No plugin can have it.
    Unknown,
}

/// The capabilities: interface and grant have the same name.
const GRANTS: [&str; 5] = ["keyvalue", "secrets", "clock", "random", "http"];
/// What plugins have, those of one kind or all.
const ALWAYS: [&str; 5] = ["types", "log", "settings", "application", "keys"];
/// What makes a component's kind.
const KINDS: [(&str, &str); 3] =
    [("transformer", "transform"), ("signer", "sign"), ("classifier", "classify")];

impl Anatomy {
    /// Of those bytes; an error if they are neither component nor definition.
    pub fn of(bytes: &[u8], options: Options) -> Result<Self, Problem> {
        let is_definition = is_definition(bytes);
        let Surface { imports, exports } = match is_definition {
            true => Surface::default(),
            false => Surface::of(bytes).map_err(|refused| Problem::new(refused.to_string()))?,
        };
        let ours = exports.iter().filter_map(|name| of_contract(name));
        let kind = ours.clone().find_map(|(interface, version)| {
            let kind = KINDS.iter().find(|(export, _)| *export == interface)?;
            Some((kind.1, version.to_owned()))
        });
        let (kind, contract) = kind.unzip();
        let kind = if is_definition { Some("transform") } else { kind };
        let definition = is_definition.then(|| serde_json::from_slice(bytes).ok()).flatten();
        let host = Host::new(Options { concurrency: 1, per_application: 1, ..options }, None)
            .map_err(|error| Problem::new(error.to_string()))?;
        let loaded = host.load(bytes);
        let asked = loaded.and_then(|loaded| host.settings_schema(&loaded));
        let (schema, refused) = match asked {
            Ok(schema) => (schema.map(|schema| schema.schema.clone()), None),
            Err(refused) => (None, Some(refused.to_string())),
        };
        let imports = imports.into_iter().map(|name| Import { needs: needs(&name), name });
        let imports: Vec<_> = imports.collect();
        Ok(Self {
            kind,
            digest: digest(bytes),
            size: bytes.len() as u64,
            contract,
            grants: imports.iter().filter_map(Import::grant).collect(),
            imports,
            exports,
            schema,
            definition,
            refused,
        })
    }
}

/// What a gateway knows a component by: the SHA-256 of its bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// The interface and the version, if it is of the contract.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

fn needs(name: &str) -> Needs {
    if name.starts_with("wasi:") {
        return Needs::Empty;
    }
    let interface = of_contract(name).map_or("", |(interface, _)| interface);
    match GRANTS.into_iter().find(|grant| *grant == interface) {
        Some(grant) => Needs::Grant(grant),
        None if ALWAYS.contains(&interface) => Needs::Nothing,
        None => Needs::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_import_needs_is_read_off_its_name() {
        let table = [
            ("octohooks:plugin/log@0.1.0", Needs::Nothing),
            ("octohooks:plugin/keyvalue@0.1.0", Needs::Grant("keyvalue")),
            ("octohooks:plugin/teleport@0.1.0", Needs::Unknown),
            ("wasi:io/streams@0.2.6", Needs::Empty),
            ("somebody:else/log@0.1.0", Needs::Unknown),
        ];
        for (name, expected) in table {
            assert_eq!(needs(name), expected, "{name}");
        }
    }
}
