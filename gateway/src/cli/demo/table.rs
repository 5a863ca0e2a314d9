//! What people see while it goes on: a line for what is accepted, and one for each endpoint. Only in a terminal.

use super::{
    Options,
    books::{Books, expected},
    receiver::Endpoint,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(50);

/// The live table.
#[derive(Clone, Debug)]
pub struct Table {
    accepted: ProgressBar,
    endpoints: [ProgressBar; 3],
    quiet: bool,
}

impl Table {
    /// Says what is going to happen, and draws an empty table.
    #[allow(clippy::print_stdout, reason = "it is what the command is for")]
    pub fn new(options: &Options, gateway: SocketAddr) -> Self {
        let all = MultiProgress::new();
        if options.json {
            all.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            println!(
                "A gateway listens on http://{gateway}, with its data in a temporary directory."
            );
            println!(
                "Senders post SMS statuses, {} of them; the plugin sms-status makes of them what a partner sees.",
                options.messages
            );
            if options.crash {
                println!("Half-way the gateway is killed, and started again.");
            }
            println!("The partner has three endpoints:");
            for endpoint in Endpoint::ALL {
                println!("  {:<9} {}", endpoint.path(), endpoint.what());
            }
            println!();
        }
        let messages = options.messages;
        let bar = |name: &'static str, length: u32| {
            let style =
                ProgressStyle::with_template("  {prefix:<12}{bar:30} {pos:>7}/{len:<7} {msg}");
            let bar = ProgressBar::new(length.into());
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("━╸─"));
            }
            all.add(bar).with_prefix(name)
        };
        Self {
            accepted: bar("accepted", messages),
            endpoints: Endpoint::ALL.map(|e| bar(e.path(), expected(messages, e))),
            quiet: options.json,
        }
    }

    /// Draws what the books say, again and again.
    pub async fn follow(self, books: Arc<Books>) {
        loop {
            self.draw(&books);
            tokio::time::sleep(EVERY).await;
        }
    }

    fn draw(&self, books: &Books) {
        let counts = books.counts();
        self.accepted.set_position(counts.accepted.into());
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
        self.endpoints.iter().for_each(ProgressBar::abandon);
        if !self.quiet && !self.accepted.is_hidden() {
            println!();
        }
    }
}
