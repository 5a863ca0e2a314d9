//! Pages that are cut by key: `?limit=50&iterator=…`. An iterator says where the next page begins, and means nothing to
//! callers.

use crate::{
    model::{Millis, message::Sequence},
    web::error::ApiError,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How many a page shows, unless it says.
const LIMIT: usize = 50;
/// The most a page shows.
const MOST: usize = 250;

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Keyset {
    /// How many a page shows.
    #[param(minimum = 1, maximum = 250, default = 50)]
    limit: Option<usize>,
    /// The `iterator` of the page before.
    iterator: Option<String>,
    /// Of messages accepted at that time or later.
    pub after: Option<Millis>,
    /// Of messages accepted before that time.
    pub before: Option<Millis>,
}

impl Keyset {
    /// How many to show.
    pub fn limit(&self) -> Result<usize, ApiError> {
        let limit = self.limit.unwrap_or(LIMIT);
        match (1..=MOST).contains(&limit) {
            true => Ok(limit),
            false => Err(ApiError::field("?limit", format!("must be from 1 to {MOST}"))),
        }
    }

    /// Where to begin: that many numbers.
    pub fn place<const N: usize>(&self) -> Result<Option<[u64; N]>, ApiError> {
        let Some(text) = &self.iterator else { return Ok(None) };
        let numbers = text.split('-').map(|digits| u64::from_str_radix(digits, 36));
        let numbers: Result<Vec<u64>, _> = numbers.collect();
        let place = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        place.map(Some).ok_or_else(|| ApiError::field("?iterator", "is not one of ours"))
    }

    /// The message to begin before.
    pub fn sequence(&self) -> Result<Option<Sequence>, ApiError> {
        Ok(self.place::<1>()?.map(|[number]| Sequence(number)))
    }
}

/// A page, and the iterator of the next; none if this was the last.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    data: Vec<T>,
    /// For the next page; null: there is none.
    #[schema(required)]
    iterator: Option<String>,
}

impl<T> List<T> {
    /// These, and where the next page begins.
    pub fn new<const N: usize>(data: Vec<T>, next: Option<[u64; N]>) -> Self {
        let iterator = next.map(|place| place.map(base36).join("-"));
        Self { data, iterator }
    }

    /// All there are.
    pub const fn whole(data: Vec<T>) -> Self {
        Self { data, iterator: None }
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(iterator: &str) -> Keyset {
        Keyset { iterator: Some(iterator.to_owned()), ..Keyset::default() }
    }

    #[test]
    fn an_iterator_leads_to_where_it_was_made() {
        for place in [[0, 1], [36, 35], [u64::MAX, 7]] {
            let made = List::<()>::new(Vec::new(), Some(place)).iterator.expect("is there");
            assert_eq!(at(&made).place().expect("is ours"), Some(place));
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for bad in ["", "-", "1-", "a b", "1-2-3", "zzzzzzzzzzzzzzzzzzzz"] {
            assert!(at(bad).place::<2>().is_err(), "{bad}");
        }
        for bad in [0, 251] {
            assert!(Keyset { limit: Some(bad), ..Keyset::default() }.limit().is_err());
        }
        assert_eq!(Keyset::default().limit().expect("is legal"), LIMIT);
    }
}
