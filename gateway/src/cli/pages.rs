//! Lists that come in pages: by an iterator, or by number. All of them, if asked for, a page at a time, so that a list of
//! millions needs no more memory than one of fifty.

use super::{
    client::Call,
    failure::Outcome,
    output::{Session, rows},
    table::Table,
};
use clap::Args;
use reqwest::Method;
use serde_json::Value;

/// The most that a page may have.
const MOST: usize = 250;

/// Which page, by where it begins.
#[derive(Debug, Args)]
pub struct Keyset {
    /// How many on a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=250))]
    limit: u16,
    /// Where to begin: what the page before said
    #[arg(long)]
    iterator: Option<String>,
    /// All pages from here on; with --json one page a line
    #[arg(long)]
    all: bool,
}

/// Which page, by its number.
#[derive(Debug, Args)]
pub struct Numbered {
    /// Which page
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
    /// How many on a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=250))]
    size: u16,
    /// All pages from here on; with --json one page a line
    #[arg(long)]
    all: bool,
}

/// Things of which there is a list.
pub struct List<'a> {
    /// Where the list is.
    pub path: &'a [&'a str],
    /// Which of them.
    pub query: Vec<(&'static str, String)>,
    /// What they are called.
    pub what: &'static str,
    /// As a table.
    pub table: fn(&[Value]) -> Table,
}

impl List<'_> {
    /// One page, printed.
    async fn page(
        &self,
        session: &Session,
        place: Vec<(&'static str, String)>,
        first: bool,
    ) -> Outcome<Value> {
        let query = self.query.iter().cloned().chain(place).collect();
        let answer = session.client.call(Call::new(Method::GET, self.path).query(query)).await?;
        let value = answer.value()?;
        match session.output.json {
            true => session.output.raw(answer.text())?,
            false => session.output.table(&(self.table)(rows(&value)), self.what, first)?,
        }
        Ok(value)
    }

    /// Pages by iterator.
    pub async fn keyset(&self, session: &Session, pages: Keyset) -> Outcome {
        let limit = if pages.all { MOST.to_string() } else { pages.limit.to_string() };
        let (mut iterator, mut first) = (pages.iterator, true);
        loop {
            let place = iterator.map(|iterator| ("iterator", iterator));
            let place = place.into_iter().chain([("limit", limit.clone())]).collect();
            let page = self.page(session, place, first).await?;
            iterator = page["iterator"].as_str().map(str::to_owned);
            first = false;
            match &iterator {
                None => return Ok(()),
                Some(_) if pages.all => {}
                Some(next) => {
                    session.output.aside(&format!("more with --iterator {next}, or with --all"));
                    return Ok(());
                }
            }
        }
    }

    /// Pages by number.
    pub async fn numbered(&self, session: &Session, pages: Numbered) -> Outcome {
        let size = usize::from(pages.size);
        let (mut number, mut first) = (pages.page, true);
        loop {
            let place = vec![("page", number.to_string()), ("size", size.to_string())];
            let page = self.page(session, place, first).await?;
            number = number.saturating_add(1);
            first = false;
            let before = (number as usize - 1).saturating_mul(size);
            let is_last = match page["meta"]["count"].as_u64() {
                Some(count) => before as u64 >= count,
                None => rows(&page).len() < size,
            };
            match (is_last, pages.all) {
                (true, _) => return Ok(()),
                (false, true) => {}
                (false, false) => {
                    session.output.aside(&format!("more with --page {number}, or with --all"));
                    return Ok(());
                }
            }
        }
    }
}

/// The filters that are given.
pub fn given<const N: usize>(
    filters: [(&'static str, Option<String>); N],
) -> Vec<(&'static str, String)> {
    filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
