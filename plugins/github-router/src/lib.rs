//! Routes GitHub webhooks by repository and branch, drops what bots do, and makes one message of
//! each pushed commit. For a team that publishes what GitHub sends to it; the rules are in this
//! crate's `README.md`.
//!
//! `event` reads the few fields that decide, from whatever GitHub sends; `channels` makes channels
//! of them; `push` splits. A payload that is not split is never copied: its dispatch has none, so
//! the gateway sends the bytes that GitHub signed.

mod channels;
mod event;
mod push;

use channels::Routes;
use event::Event;
use octohooks_plugin::{Dispatch, Failure, Message, Verdict, settings};

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let event: Event<'_> = message.json()?;
    if let Some(login) = event.bot() {
        return Ok(Verdict::drop(format!("sender {login} is a bot")));
    }
    let is_push = event::name(&message.event_type) == "push";
    let commits = if is_push { event.commits() } else { None };
    if commits.as_ref().is_some_and(Vec::is_empty) {
        let git_ref = event.git_ref().unwrap_or_default();
        return Ok(Verdict::drop(format!("push to {git_ref} without commits")));
    }
    let Some(repository) = event.repository() else {
        return Ok(Verdict::Pass);
    };
    let routes: Routes = settings()?;
    let branch = event.branch();
    let channels = routes.channels(&message.channels, &repository.full_name, branch.as_deref());
    let whole = Dispatch::to_channels(channels).ordering_key(repository.full_name.as_ref());
    match commits {
        Some(commits) => push::split(&whole, &event, &repository, branch.as_deref(), &commits),
        None => Ok(whole.into()),
    }
}

octohooks_plugin::export!(on_message);

#[cfg(test)]
mod tests;
