//! Trials: what is known of plugins beside what becomes of messages. For authors, who want to see what a version would do
//! before they trust it with live traffic, and what it says while it runs.
//!
//! [`simulate`] runs a version beside the active one on given or recorded messages, at once and for whoever asks, and [`ask`]
//! asks signers and classifiers;
//! [`reports`] keeps what a version came to that is tried on live traffic (`dispatch` calls it); [`compare`], pure, says how
//! two verdicts differ, and [`report`] adds that up. [`lines`] has the last lines that plugins wrote.
//!
//! All of it is in memory, bounded, and begins anew at a start: nothing here decides what becomes of a message.

use crate::model::id::{ApplicationId, MessageId};
use lines::Lines;
use reports::Reports;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

pub mod compare;
pub mod shown;
pub mod report;
pub mod reports;
pub mod lines;
pub mod simulate;
pub mod ask;

/// What plugins said and came to.
#[derive(Debug)]
pub struct Trials {
    /// The last lines they wrote.
    pub lines: Lines,
    /// What the versions came to that are tried.
    pub reports: Reports,
    /// Who may run a version beside the active one now: one call of an application, and few at once.
    pub beside: Arc<Busy>,
}

impl Default for Trials {
    fn default() -> Self {
        // Half of the guests' threads: the others are for what decides.
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let beside = Arc::new(Busy::new((threads / 2).max(1)));
        Self { lines: Lines::default(), reports: Reports::default(), beside }
    }
}

impl Trials {
    /// Away with what is known of a message whose content goes.
    pub fn forget(&self, application: ApplicationId, message: MessageId) {
        self.lines.forget(application, message);
        self.reports.forget(application, message);
    }
}

/// Applications for which something is under way that is done once at a time for each, and for few at once.
#[derive(Debug)]
pub struct Busy {
    most: usize,
    applications: Mutex<HashSet<ApplicationId>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The application has one already.
    Own,
    /// Others have all.
    All,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    busy: Arc<Busy>,
    application: ApplicationId,
}

impl Busy {
    /// At most that many applications at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, applications: Mutex::default() }
    }

    /// A place for the application, if there is one. Does not wait.
    pub fn enter(self: &Arc<Self>, application: ApplicationId) -> Result<Place, NoPlace> {
        let mut applications = self.applications.lock().unwrap_or_else(PoisonError::into_inner);
        if applications.contains(&application) {
            return Err(NoPlace::Own);
        }
        if applications.len() >= self.most {
            return Err(NoPlace::All);
        }
        applications.insert(application);
        Ok(Place { busy: self.clone(), application })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let applications = self.busy.applications.lock();
        applications.unwrap_or_else(PoisonError::into_inner).remove(&self.application);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn an_application_has_one_place_and_all_together_have_few() {
        let busy = Arc::new(Busy::new(2));
        let [one, two, three] = [(); 3].map(|()| sample::application().id);
        let first = busy.enter(one).expect("a place");
        assert_eq!(busy.enter(one).err(), Some(NoPlace::Own));
        let _second = busy.enter(two).expect("a place");
        assert_eq!(busy.enter(three).err(), Some(NoPlace::All));
        drop(first);
        assert!(busy.enter(three).is_ok());
    }
}
