//! The few fields of GitHub's payloads that decide where they go. For `on_message`.
//!
//! There are some 60 kinds of event, and their shapes differ between kinds, actions and versions of
//! GitHub: `ref` is a branch here and a tag there, `repository` may be missing, `commits` may be a
//! number. So each field is kept as it was written and read only by the rule that asks for it; a
//! field of another shape is as good as absent.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What GitHub sent, unread.
#[derive(Deserialize)]
pub struct Event<'a> {
    #[serde(borrow, rename = "ref")]
    git_ref: Option<&'a RawValue>,
    #[serde(borrow)]
    ref_type: Option<&'a RawValue>,
    #[serde(borrow)]
    repository: Option<&'a RawValue>,
    #[serde(borrow)]
    sender: Option<&'a RawValue>,
    #[serde(borrow)]
    commits: Option<&'a RawValue>,
    #[serde(borrow)]
    pull_request: Option<&'a RawValue>,
    #[serde(borrow)]
    check_suite: Option<&'a RawValue>,
    #[serde(borrow)]
    check_run: Option<&'a RawValue>,
    #[serde(borrow)]
    workflow_run: Option<&'a RawValue>,
    #[serde(borrow)]
    workflow_job: Option<&'a RawValue>,
    /// Who pushed; handed on with each commit.
    #[serde(borrow)]
    pub pusher: Option<&'a RawValue>,
    /// Where a person sees the whole push; handed on with each commit.
    #[serde(borrow)]
    pub compare: Option<&'a RawValue>,
}

/// What of a repository goes with a commit.
#[derive(Deserialize, Serialize)]
pub struct Repository<'a> {
    /// `owner/name`.
    #[serde(borrow)]
    pub full_name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    html_url: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Sender<'a> {
    #[serde(borrow)]
    login: Cow<'a, str>,
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
}

/// Something with a branch at its head: a check suite, a workflow's run or job.
#[derive(Deserialize)]
struct Headed<'a> {
    #[serde(borrow)]
    head_branch: Cow<'a, str>,
}

#[derive(Deserialize)]
struct CheckRun<'a> {
    #[serde(borrow)]
    check_suite: Headed<'a>,
}

#[derive(Deserialize)]
struct PullRequest<'a> {
    #[serde(borrow)]
    base: Base<'a>,
}

#[derive(Deserialize)]
struct Base<'a> {
    #[serde(borrow, rename = "ref")]
    git_ref: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a field as `T`, or not at all.
fn read<'a, T: Deserialize<'a>>(field: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(field?.get()).ok()
}

/// The kind of event: `push` of `push`, `github.push` and `github.push.forced`.
pub fn name(event_type: &str) -> &str {
    let name = event_type.strip_prefix("github.").unwrap_or(event_type);
    name.split('.').next().unwrap_or(name)
}

impl<'a> Event<'a> {
    /// Who did it, if that was a bot.
    pub fn bot(&self) -> Option<Cow<'a, str>> {
        let sender: Sender<'a> = read(self.sender)?;
        let is_bot = sender.kind == "Bot" || sender.login.ends_with("[bot]");
        is_bot.then_some(sender.login)
    }

    /// The repository it happened in, if it has a name.
    pub fn repository(&self) -> Option<Repository<'a>> {
        read(self.repository)
    }

    /// `ref`, whatever it refers to.
    pub fn git_ref(&self) -> Option<Cow<'a, str>> {
        read(self.git_ref).map(|Text(text)| text)
    }

    /// The pushed commits as they were written, if there is a list of them.
    pub fn commits(&self) -> Option<Vec<&'a RawValue>> {
        read(self.commits)
    }

    /// The sender as it was written.
    pub const fn sender(&self) -> Option<&'a RawValue> {
        self.sender
    }

    /// The branch it happened on or is meant for; the order of the rules is the README's.
    pub fn branch(&self) -> Option<Cow<'a, str>> {
        let branch = self
            .branch_of_ref()
            .or_else(|| read(self.pull_request).map(|found: PullRequest<'a>| found.base.git_ref))
            .or_else(|| read(self.check_suite).map(|found: Headed<'a>| found.head_branch))
            .or_else(|| read(self.check_run).map(|run: CheckRun<'a>| run.check_suite.head_branch))
            .or_else(|| read(self.workflow_run).map(|found: Headed<'a>| found.head_branch))
            .or_else(|| read(self.workflow_job).map(|found: Headed<'a>| found.head_branch))?;
        (!branch.is_empty()).then_some(branch)
    }

    fn branch_of_ref(&self) -> Option<Cow<'a, str>> {
        let git_ref = self.git_ref()?;
        if let Some(branch) = git_ref.strip_prefix("refs/heads/") {
            return Some(Cow::Owned(branch.to_owned()));
        }
        let Text(kind) = read(self.ref_type)?;
        (kind == "branch").then_some(git_ref)
    }
}
