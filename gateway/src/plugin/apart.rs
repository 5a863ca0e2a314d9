//! A world of its own for a call that must have no effects: it reads what there is, sees what it has written itself, and
//! nothing of that is there once the call has ended. To other hosts there is no way.

use super::outside::{Outside, Request, Response, Unsent};
use crate::model::{
    id::ApplicationId,
    keyvalue::{Entry, Size, Write, Written},
};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What one call sees of the world.
pub(super) struct Apart {
    outside: Arc<dyn Outside>,
    /// What the call has written; none: removed.
    written: Mutex<HashMap<String, Option<Entry>>>,
}

impl Apart {
    /// Apart from that world.
    pub(super) fn new(outside: Arc<dyn Outside>) -> Self {
        Self { outside, written: Mutex::default() }
    }

    fn written(&self) -> MutexGuard<'_, HashMap<String, Option<Entry>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Outside for Apart {
    async fn value(
        &self,
        application: ApplicationId,
        key: String,
    ) -> Result<Option<Entry>, String> {
        let own = self.written().get(&key).cloned();
        match own {
            Some(entry) => Ok(entry),
            None => self.outside.value(application, key).await,
        }
    }

    /// Of the quota only what one key may take is known.
    async fn write(&self, write: Write) -> Result<Written, String> {
        let current = self.value(write.application, write.key.clone()).await?;
        let size = |entry: &Entry| Size::of(&write.key, entry.value.len() as u64);
        let known = current.as_ref().map(|entry| (entry.version, size(entry)));
        let used = known.map(|(_, size)| size).unwrap_or_default();
        let next = known.map_or(0, |(version, _)| version) + 1;
        let decided = write.decide(known, used, next);
        let entry = write.value.map(|value| Entry { value, version: next });
        if matches!(decided, Written::Done(_) | Written::Removed(_)) {
            self.written().insert(write.key, entry);
        }
        Ok(decided)
    }

    async fn send(&self, _: Request) -> Result<Response, Unsent> {
        Err(Unsent::Refused("nothing is sent while a version is tried".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{keyvalue::Expected, sample};
    use bytes::Bytes;

    /// A world in which one key has a value, and nothing can be done.
    struct Fixed;

    #[async_trait]
    impl Outside for Fixed {
        async fn value(&self, _: ApplicationId, key: String) -> Result<Option<Entry>, String> {
            let entry = Entry { value: Bytes::from("there"), version: 7 };
            Ok((key == "known").then_some(entry))
        }

        async fn write(&self, _: Write) -> Result<Written, String> {
            panic!("nothing is written")
        }

        async fn send(&self, _: Request) -> Result<Response, Unsent> {
            panic!("nothing is sent")
        }
    }

    #[tokio::test]
    async fn a_call_sees_what_it_has_written_and_another_does_not() {
        let application = sample::application().id;
        let apart = Apart::new(Arc::new(Fixed));
        let value = async |apart: &Apart, key: &str| {
            let entry = apart.value(application, key.to_owned()).await.expect("is read");
            entry.map(|entry| entry.value)
        };
        let write = async |key: &str, value: Option<&'static str>, expected| {
            let quota = Size { keys: 1, bytes: 100 };
            let (key, value) = (key.to_owned(), value.map(Bytes::from));
            let write = Write { application, key, value, expires: None, expected, quota };
            apart.write(write).await.expect("is decided")
        };
        let (any, absent) = (Expected::Any, Expected::Version(None));
        assert_eq!(value(&apart, "known").await.as_deref(), Some(&b"there"[..]));
        assert_eq!(write("known", Some("a"), absent).await, Written::Conflict(Some(7)));
        assert_eq!(write("known", Some("a"), Expected::Version(Some(7))).await, Written::Done(8));
        assert_eq!(value(&apart, "known").await.as_deref(), Some(&b"a"[..]));
        assert_eq!(write("known", None, any).await, Written::Removed(true));
        assert_eq!(value(&apart, "known").await, None);
        assert_eq!(write("new", Some("b"), absent).await, Written::Done(1));
        assert_eq!(write("new", Some("c"), absent).await, Written::Conflict(Some(1)));
        let another = Apart::new(Arc::new(Fixed));
        assert_eq!(value(&another, "known").await.as_deref(), Some(&b"there"[..]));
        assert_eq!(value(&another, "new").await, None);
    }
}
