// Tells a Slack channel, in its own words, what happened on GitHub. The endpoint is a Slack incoming webhook.

import { json as settings } from 'octohooks:plugin/settings@0.1.0';

const reject = (reason) => ({ tag: 'reject', val: reason });
const drop = (reason) => ({ tag: 'drop', val: reason });

// Slack's three characters: https://docs.slack.dev/messaging/formatting-message-text
const escape = (text) =>
  String(text ?? '').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const link = (url, text) => (url ? `<${url}|${escape(text)}>` : escape(text));
const firstLine = (text) => String(text ?? '').split('\n', 1)[0];
const plural = (count, what) => `${count} ${what}${count === 1 ? '' : 's'}`;

// At most so many commits of a push are shown: Slack cuts a text at 3,000 characters.
const SHOWN = 10;

// What each event says: a headline, and perhaps more below it. Nothing: it is not worth a message.
const events = {
  push({ ref, commits, compare, sender }) {
    if (!commits?.length) return undefined;
    const branch = String(ref).replace('refs/heads/', '');
    const lines = commits.slice(0, SHOWN).map(
      ({ id, url, message }) => `${link(url, String(id).slice(0, 7))} ${escape(firstLine(message))}`,
    );
    if (commits.length > SHOWN) lines.push(`and ${commits.length - SHOWN} more`);
    const pushed = link(compare, plural(commits.length, 'commit'));
    return [`${escape(sender?.login)} pushed ${pushed} to \`${escape(branch)}\``, lines.join('\n')];
  },
  pull_request({ action, pull_request: request, sender }) {
    const done = action === 'closed' && request.merged ? 'merged' : action;
    if (!['opened', 'reopened', 'closed', 'merged', 'ready_for_review'].includes(done)) return undefined;
    const title = link(request.html_url, `#${request.number} ${request.title}`);
    const said = `${escape(sender?.login)} ${done.replaceAll('_', ' ')} the pull request ${title}`;
    return [said, done === 'opened' ? escape(firstLine(request.body)) : ''];
  },
  issues({ action, issue, sender }) {
    if (!['opened', 'reopened', 'closed'].includes(action)) return undefined;
    return [`${escape(sender?.login)} ${action} the issue ${link(issue.html_url, `#${issue.number} ${issue.title}`)}`];
  },
  release({ action, release, sender }) {
    if (action !== 'published') return undefined;
    return [`${escape(sender?.login)} released ${link(release.html_url, release.name || release.tag_name)}`];
  },
  workflow_run({ action, workflow_run: run }) {
    if (action !== 'completed' || run.conclusion === 'success') return undefined;
    const said = `${link(run.html_url, run.name)} on \`${escape(run.head_branch)}\``;
    return [`${said} ended with ${escape(run.conclusion)}`];
  },
};

function read(message) {
  try {
    return JSON.parse(new TextDecoder().decode(message.payload));
  } catch (error) {
    throw reject(`payload: ${error.message}`);
  }
}

export const transformer = {
  onMessage(message) {
    const event = read(message);
    if (event?.repository === undefined) throw reject('payload: GitHub names a repository');
    // `push`, `github.push` and `pull_request.opened` are all GitHub's names.
    const name = message.eventType.replace(/^github\./, '').split('.')[0];
    const said = events[name]?.(event);
    if (said === undefined) return drop(`${name} ${event.action ?? ''} is not worth a message`.replace('  ', ' '));
    const [headline, more] = said;
    const { full_name: repository, html_url: url } = event.repository;
    const section = (text) => ({ type: 'section', text: { type: 'mrkdwn', text } });
    const { channel } = JSON.parse(settings());
    const payload = {
      ...(channel && { channel }),
      text: `[${escape(repository)}] ${headline}`,
      blocks: [section(`*${link(url, repository)}* ${headline}`), ...(more ? [section(more)] : [])],
      unfurl_links: false,
    };
    const dispatch = {
      target: { tag: 'subscribed' },
      eventType: message.eventType,
      contentType: 'application/json',
      payload: new TextEncoder().encode(JSON.stringify(payload)),
      headers: [],
      orderingKey: repository,
      attributes: [],
    };
    return { tag: 'send', val: [dispatch] };
  },
};
