//! The writer's batches: what is in one, and when it ends.

use super::{gather::BATCH, *};
use crate::model::delivery::Next;
use crate::{
    model::sample,
    store::{front::Front, vault::MasterKey, waiting::Waiting},
};
use std::{
    sync::mpsc::{Sender, channel},
    time::Duration,
};

fn writer() -> (Writer, Sender<Op>) {
    let (sender, ops) = channel();
    let key: MasterKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().expect("a key");
    let (front, waiting) = (Front::new(1, 1), Waiting::default());
    let writer = Writer {
        connection: Connection::open_in_memory().expect("opens"),
        vault: Vault::new(&key).expect("a key").into(),
        ops,
        handover: Arc::new(Handover::new(front, waiting, Snapshot::default(), 0)),
        wal: Arc::default(),
        latest: 0,
        owed: Vec::new(),
    };
    (writer, sender)
}

fn settlement() -> Op {
    let message = Arc::new(sample::message(sample::application().id));
    let delivery = Arc::new(sample::delivery(&message, Sequence(1)));
    Op::Settle(Settlement { delivery, attempt: None, next: Next::Disabled, notice: None })
}

/// The batch, and the sender that lived until it was there.
fn gathered(mut writer: Writer, sender: Sender<Op>) -> Vec<Op> {
    let (done, batch) = channel();
    let thread = std::thread::spawn(move || done.send(writer.gather()).expect("is received"));
    let batch = batch.recv_timeout(Duration::from_secs(60)).expect("a batch ends");
    thread.join().expect("ends");
    drop(sender);
    batch
}

#[test]
fn settlements_that_came_while_the_writer_was_busy_wait_for_nothing_else() {
    let (writer, sender) = writer();
    for _ in 0..3 {
        sender.send(settlement()).expect("is sent");
    }
    assert_eq!(gathered(writer, sender).len(), 3);
}

#[test]
fn what_is_owed_leaves_room_for_what_comes() {
    let (mut writer, sender) = writer();
    writer.owed = std::iter::repeat_with(settlement).take(2 * BATCH).collect();
    let (reply, _answer) = oneshot::channel();
    sender.send(Op::Flush(reply)).expect("is sent");
    let batch = gathered(writer, sender);
    assert_eq!(batch.len(), 2 * BATCH + 1);
}

#[test]
fn what_makes_room_goes_first() {
    let (mut writer, sender) = writer();
    writer.owed = vec![settlement()];
    let (reply, _answer) = oneshot::channel();
    sender.send(Op::ForgetAnswers((1, 1), 1, reply)).expect("is sent");
    let batch = gathered(writer, sender);
    assert!(matches!(batch[..], [Op::ForgetAnswers(..), Op::Settle(_)]));
}

#[test]
fn a_batch_has_an_end() {
    let (writer, sender) = writer();
    for _ in 0..2 * BATCH {
        sender.send(settlement()).expect("is sent");
    }
    assert_eq!(gathered(writer, sender).len(), BATCH);
}

#[test]
fn what_an_operation_carries_counts() {
    let message = |bytes: usize| {
        let mut message = sample::message(sample::application().id);
        message.payload = vec![b' '; bytes].into();
        Submission::from(Arc::new(message))
    };
    // How many operations, of how many messages of so many bytes, share a commit.
    for (messages, bytes, together) in [(1, 100, BATCH), (256, 100, 4), (1, 1 << 20, 8)] {
        let (writer, sender) = writer();
        let accept = || {
            let messages = std::iter::repeat_with(|| message(bytes)).take(messages).collect();
            Op::Accept(messages, None, oneshot::channel().0)
        };
        for _ in 0..2 * together {
            sender.send(accept()).expect("is sent");
        }
        assert_eq!(gathered(writer, sender).len(), together, "{messages} of {bytes}");
    }
}
