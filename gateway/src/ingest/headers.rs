//! The headers of a message that did not come over HTTP, in the gateway's own terms, so that the envelope knows no
//! broker. Names mean the same whatever their case, as in HTTP, though brokers keep the case apart.

/// Names and values, in their order; a name may come again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The header's value; those of a repeated one with commas between.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let mut values = self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = values.next()?.1.clone();
        Some(values.fold(first, |all, (_, value)| all + "," + value))
    }

    /// How many bytes they have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// The headers whose names begin so: what follows in the name, in small letters, and the value.
    pub fn below(&self, prefix: &str) -> impl Iterator<Item = (String, &str)> {
        self.0.iter().filter_map(move |(name, value)| {
            let (start, rest) = name.split_at_checked(prefix.len())?;
            let is_below = start.eq_ignore_ascii_case(prefix);
            is_below.then(|| (rest.to_ascii_lowercase(), value.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_the_same_whatever_their_case() {
        let pairs = [("X-A", "1"), ("ce-Id", "7"), ("x-a", "2"), ("CE-", ""), ("é", "")];
        let headers = Headers(pairs.map(|(name, value)| (name.into(), value.into())).into());
        assert_eq!(headers.get("x-A").as_deref(), Some("1,2"));
        assert_eq!(headers.get("x-b"), None);
        let below: Vec<_> = headers.below("ce-").collect();
        assert_eq!(below, [("id".to_owned(), "7"), (String::new(), "")]);
    }
}
