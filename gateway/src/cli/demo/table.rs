//! What people see while it goes on: a line for what is accepted, one for each door where there are several, and one for
//! each endpoint. Only in a terminal.

use super::{
    Options,
    books::{Books, expected},
    broker::Broker,
    door::{Door, Doors},
    receiver::Endpoint,
    summary::Traffic,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(50);

/// The live table.
#[derive(Clone, Debug)]
pub struct Table {
    accepted: ProgressBar,
    doors: Vec<(Door, ProgressBar)>,
    endpoints: [ProgressBar; 3],
    quiet: bool,
}

/// Says what is going to happen.
#[allow(clippy::print_stdout, reason = "it is what the command is for")]
fn introduce(options: &Options, gateway: SocketAddr, broker: Option<&Broker>) {
    let messages = options.messages;
    println!("A gateway listens on http://{gateway}, with its data in a temporary directory.");
    let width = match broker {
        None => {
            println!(
                "Senders post SMS statuses, {messages} of them; the plugin sms-status makes of them what a partner sees."
            );
            9
        }
        Some(broker) => {
            println!("{}", broker.introduction());
            println!("Senders send SMS statuses, {messages} of them, through three doors at once:");
            for door in Doors::All.each() {
                println!("  {:<13} {}", door.title(), door.what());
            }
            println!("The plugin sms-status makes of them what a partner sees.");
            13
        }
    };
    if options.crash {
        println!("Half-way the gateway is killed, and started again.");
        if broker.is_some() {
            println!("What it had in hand of the stream is delivered to it again after 10 s.");
        }
    }
    println!("The partner has three endpoints:");
    for endpoint in Endpoint::ALL {
        println!("  {:<width$} {}", endpoint.path(), endpoint.what());
    }
    println!();
}

impl Table {
    /// Says what is going to happen, and draws an empty table.
    pub fn new(options: &Options, gateway: SocketAddr, broker: Option<&Broker>) -> Self {
        let all = MultiProgress::new();
        if options.json {
            all.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            introduce(options, gateway, broker);
        }
        let template = match broker {
            // A door's line says more, and has to fit into 80 columns.
            Some(_) => "  {prefix:<14}{bar:20} {pos:>7}/{len:<7} {msg}",
            None => "  {prefix:<12}{bar:30} {pos:>7}/{len:<7} {msg}",
        };
        let bar = |name: &'static str, length: u32| {
            let bar = ProgressBar::new(length.into());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            all.add(bar).with_prefix(name)
        };
        let messages = options.messages;
        let doors: &[Door] = if broker.is_some() { Doors::All.each() } else { &[] };
        let line = |door: &Door| (*door, bar(door.title(), Doors::All.expected(messages, *door)));
        Self {
            accepted: bar("accepted", messages),
            doors: doors.iter().map(line).collect(),
            endpoints: Endpoint::ALL.map(|e| bar(e.path(), expected(messages, e))),
            quiet: options.json,
        }
    }

    /// Draws what the books say, again and again.
    pub async fn follow(self, books: Arc<Books>) {
        while !self.accepted.is_hidden() {
            self.draw(&books);
            tokio::time::sleep(EVERY).await;
        }
    }

    fn draw(&self, books: &Books) {
        let counts = books.counts();
        self.accepted.set_position(counts.accepted.into());
        for (door, bar) in &self.doors {
            let Traffic { accepted, p50_ms, p99_ms, .. } = books.traffic(*door);
            bar.set_position(accepted.into());
            bar.set_message(format!("p50 {p50_ms:.1} p99 {p99_ms:.1} ms"));
        }
        for (endpoint, bar) in Endpoint::ALL.into_iter().zip(&self.endpoints) {
            bar.set_position(counts.delivered.get(&endpoint).copied().unwrap_or(0).into());
            if let Some(refused) = counts.refused.get(&endpoint) {
                bar.set_message(format!("{refused} tried again"));
            }
        }
    }

    /// Says that the gateway was killed.
    #[allow(clippy::print_stdout, reason = "it is what the command is for")]
    pub fn say_killed(&self) {
        if self.accepted.is_hidden() && !self.quiet {
            println!("The gateway was killed with SIGKILL, and is started again.\n");
        }
        self.accepted.set_message("killed, and started again");
    }

    /// Draws the end.
    #[allow(clippy::print_stdout, reason = "it is what the command is for")]
    pub fn finish(&self, books: &Books) {
        self.draw(books);
        self.accepted.abandon();
        self.doors.iter().map(|(_, bar)| bar).chain(&self.endpoints).for_each(ProgressBar::abandon);
        if !self.quiet && !self.accepted.is_hidden() {
            // The end of the last line, and an empty one.
            println!("\n");
        }
    }
}
