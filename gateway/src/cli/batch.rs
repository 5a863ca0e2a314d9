//! Many messages from a file with one on each line, in batches; and what became of each.

use super::{
    client::Call,
    failure::{Failure, Outcome},
    input,
    output::Session,
    refusal,
    table::{Fit, Table},
};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::path::Path;

/// How many messages a request may have, says the API.
const MESSAGES: usize = 1000;
/// How long a request may be in bytes: a quarter of what the gateway takes by default.
const BYTES: usize = 4 << 20;

/// A message of the file, as it is written there.
struct Line<'a> {
    number: usize,
    text: &'a RawValue,
}

#[derive(Serialize)]
struct Request<'a> {
    messages: Vec<&'a RawValue>,
}

/// What became of each, as the gateway says it.
#[derive(Deserialize)]
struct Answers {
    data: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Became {
    status: String,
    id: Option<String>,
    error: Option<Box<RawValue>>,
}

impl Became {
    fn why(&self) -> String {
        match (&self.id, &self.error) {
            (_, Some(error)) => refusal::line_of(error),
            (Some(id), None) => format!("it is there as {id}"),
            (None, None) => String::new(),
        }
    }
}

/// What became of all.
#[derive(Default)]
struct Books {
    answers: Vec<(usize, Box<RawValue>)>,
}

/// Sends them; an error if some were not accepted.
pub async fn send(session: &Session, app: &str, file: &Path, once: &str) -> Outcome {
    let text = input::text(file)?;
    let lines = lines(&text).map_err(|failure| failure.after(&input::name(file)))?;
    let batches = batches(lines, MESSAGES, BYTES);
    let bar = ProgressBar::new(batches.iter().map(|batch| batch.len() as u64).sum());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta} left") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    let mut books = Books::default();
    for (index, batch) in batches.iter().enumerate() {
        // The same file under the same key is cut in the same way.
        let once = format!("{once}-{index}");
        if let Err(failure) = one(session, app, batch, once, &mut books).await {
            bar.finish_and_clear();
            let first = batch.first().map_or(0, |line| line.number);
            if !books.answers.is_empty() {
                books.print(session)?;
            }
            return Err(failure.after(&format!("nothing was sent from line {first} on")));
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    books.print(session)?;
    match books.refused() {
        0 => Ok(()),
        count => Err(Failure::refused(format!("{count} of {} refused", books.answers.len()))),
    }
}

async fn one(
    session: &Session,
    app: &str,
    batch: &[Line<'_>],
    once: String,
    books: &mut Books,
) -> Outcome {
    let request = Request { messages: batch.iter().map(|line| line.text).collect() };
    let body = serde_json::to_string(&request);
    let body = body.map_err(|error| Failure::failed(error.to_string()))?;
    let path = ["applications", app, "messages", "batch"];
    let call = Call::new(Method::POST, &path).body(&body).once(once);
    let answers: Answers = session.client.call(call).await?.read()?;
    books.answers.extend(batch.iter().map(|line| line.number).zip(answers.data));
    Ok(())
}

/// The messages of a file; lines without any are left out.
fn lines(text: &str) -> Outcome<Vec<Line<'_>>> {
    let filled = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let lines: Vec<Line<'_>> = filled
        .map(|(number, line)| {
            let text = serde_json::from_str(line);
            let text = text.map_err(|e| {
                Failure::failed(format!("line {number} is not JSON (column {}): {e}", e.column()))
            });
            Ok(Line { number, text: text? })
        })
        .collect::<Outcome<_>>()?;
    match lines.is_empty() {
        true => Err(Failure::failed("there are no messages")),
        false => Ok(lines),
    }
}

/// Cut where one more would be too much.
fn batches(lines: Vec<Line<'_>>, messages: usize, bytes: usize) -> Vec<Vec<Line<'_>>> {
    let (mut batches, mut batch, mut size) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        let length = line.text.get().len() + 1;
        if !batch.is_empty() && (batch.len() == messages || size + length > bytes) {
            batches.push(std::mem::take(&mut batch));
            size = 0;
        }
        size += length;
        batch.push(line);
    }
    batches.push(batch);
    batches
}

impl Books {
    fn print(&self, session: &Session) -> Outcome {
        if session.output.json {
            let data: Vec<_> = self.answers.iter().map(|(_, answer)| answer.get()).collect();
            return session.output.raw(&format!("{{\"data\":[{}]}}", data.join(",")));
        }
        let mut table =
            Table::new(&[("LINE", Fit::Number), ("STATUS", Fit::Whole), ("WHY", Fit::Cut)]);
        for (line, answer) in &self.answers {
            match serde_json::from_str::<Became>(answer.get()) {
                Ok(became) if became.status == "created" => {}
                Ok(became) => table.row([line.to_string(), became.status.clone(), became.why()]),
                Err(_) => table.row([line.to_string(), "unknown".into(), answer.get().into()]),
            }
        }
        let (all, created) = (self.answers.len(), self.count("created"));
        let duplicates = self.count("duplicate");
        session.output.raw(&format!(
            "{all} messages: {created} created, {duplicates} there before, {} refused",
            self.refused()
        ))?;
        match table.is_empty() {
            true => Ok(()),
            false => session.output.table(&table, "", true),
        }
    }

    fn count(&self, status: &str) -> usize {
        let became = |(_, answer): &&(usize, Box<RawValue>)| {
            serde_json::from_str::<Became>(answer.get()).is_ok_and(|became| became.status == status)
        };
        self.answers.iter().filter(became).count()
    }

    /// Whatever is not among the messages now.
    fn refused(&self) -> usize {
        self.answers.len() - self.count("created") - self.count("duplicate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_as_they_are_written() {
        let text = "{\"a\": 1.0}\n\n  {\"b\":2}\r\n";
        let lines = lines(text).expect("lines");
        let found: Vec<_> = lines.iter().map(|line| (line.number, line.text.get())).collect();
        assert_eq!(found, [(1, "{\"a\": 1.0}"), (3, "{\"b\":2}")]);
        for (bad, said) in [("{}\n{", "line 2 is not JSON"), ("\n", "no messages")] {
            let failure = super::lines(bad).err().map(|failure| format!("{failure:?}"));
            assert!(failure.is_some_and(|failure| failure.contains(said)), "{bad}");
        }
    }

    #[test]
    fn batches_are_cut_by_number_and_by_length() {
        let text = "11\n22\n3333333333\n44\n55\n66";
        let sizes = |messages, bytes| {
            let batches = batches(lines(text).expect("lines"), messages, bytes);
            batches.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(10, 1000), [6]);
        assert_eq!(sizes(4, 1000), [4, 2]);
        assert_eq!(sizes(10, 6), [2, 1, 2, 1]);
    }
}
