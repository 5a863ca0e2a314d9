//! An answer without the payloads in it. A payload is its sender's: it may have numbers, texts and a depth that the
//! command line's own values have not, and a gateway gives it as it came.

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use std::fmt;

/// The field that is left out, wherever it is.
const PAYLOAD: &str = "payload";

/// What an answer says.
pub struct Bare(pub Value);

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Bare(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == PAYLOAD {
                map.next_value::<IgnoredAny>()?;
            } else {
                let Bare(value) = map.next_value()?;
                values.insert(name, value);
            }
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_read_whatever_a_payload_is() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        for payload in ["1e400", r#""\ud800""#, &deep, r#"{"payload":null}"#] {
            let text = format!(
                r#"{{"data":[{{"id":"a","n":[-1,2,0.5,true,null],"payload":{payload}}}],"iterator":"b"}}"#
            );
            let Bare(value) = serde_json::from_str(&text).expect("is read");
            let expected =
                json!({ "data": [{ "id": "a", "n": [-1, 2, 0.5, true, null] }], "iterator": "b" });
            assert_eq!(value, expected);
        }
        assert!(serde_json::from_str::<Bare>(r#"{"a":1"#).is_err());
    }
}
