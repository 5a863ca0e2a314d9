//! Places in a payload, as RFC 6901 writes them, with `*` for every element of a list or object.

use octohooks_plugin::Failure;
use serde_json::Value;

/// Masks what is there: how many places that were.
pub fn mask(payload: &mut Value, pointer: &str, mask: &str) -> Result<usize, Failure> {
    let Some(path) = pointer.strip_prefix('/') else {
        let wrong = format!("settings: the pointer `{pointer}` must begin with `/`");
        return Err(Failure::Other(wrong));
    };
    let parts: Vec<String> =
        path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    Ok(walk(payload, &parts, mask))
}

fn walk(value: &mut Value, path: &[String], mask: &str) -> usize {
    let Some((part, rest)) = path.split_first() else {
        *value = Value::String(mask.to_owned());
        return 1;
    };
    match (value, part.as_str()) {
        (Value::Array(all), "*") => all.iter_mut().map(|one| walk(one, rest, mask)).sum(),
        (Value::Object(all), "*") => all.values_mut().map(|one| walk(one, rest, mask)).sum(),
        (Value::Array(all), index) => {
            let one = index.parse().ok().and_then(|index: usize| all.get_mut(index));
            one.map_or(0, |one| walk(one, rest, mask))
        }
        (Value::Object(all), name) => all.get_mut(name).map_or(0, |one| walk(one, rest, mask)),
        _ => 0,
    }
}
