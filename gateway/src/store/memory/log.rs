//! The ports to what was recorded, is answered again and is sent again, on the rows in memory.

use super::Memory;
use crate::{
    clock,
    model::{
        Millis,
        endpoint::Version,
        id::{ApplicationId, Digest, EndpointId, EnvironmentId, OperationId},
        message::Sequence,
        operation::{self, Operation},
    },
    store::{
        Again, AnswerBy, Answers, Began, Candidate, DeadLetter, DeadLetterFilter, DeliveryFilter,
        DeliveryRecord, KeptAnswer, Log, MessageFilter, MessageRecord, Page, Recovery, StoreError,
        Summary, add_open, handover::Found, recovery,
    },
};
use async_trait::async_trait;
use tokio::sync::watch;

#[async_trait]
impl Log for Memory {
    async fn message(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Result<Option<MessageRecord>, StoreError> {
        Ok(self.tables().message(environment, application, id_or_uid))
    }

    async fn messages(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        filter: MessageFilter,
        limit: usize,
    ) -> Result<Page<MessageRecord, Sequence>, StoreError> {
        Ok(self.tables().messages(environment, application, &filter, limit))
    }

    async fn deliveries(&self, message: Sequence) -> Result<Vec<DeliveryRecord>, StoreError> {
        let open = self.handover.front.open(message);
        let mut records = self.tables().deliveries(message);
        add_open(&mut records, &open);
        Ok(records)
    }

    async fn deliveries_to(
        &self,
        endpoint: EndpointId,
        filter: DeliveryFilter,
        limit: usize,
    ) -> Result<Page<Summary, (Sequence, u32)>, StoreError> {
        Ok(self.tables().deliveries_to(endpoint, &filter, limit))
    }

    async fn dead_letters(
        &self,
        _environment: EnvironmentId,
        application: ApplicationId,
        filter: DeadLetterFilter,
        limit: usize,
    ) -> Result<Page<DeadLetter, Sequence>, StoreError> {
        Ok(self.tables().dead_letters(application, &filter, limit))
    }

    async fn version(
        &self,
        endpoint: EndpointId,
        revision: u64,
    ) -> Result<Option<Version>, StoreError> {
        Ok(self.tables().version(endpoint, revision))
    }
}

#[async_trait]
impl Answers for Memory {
    async fn answer(
        &self,
        environment: EnvironmentId,
        key: Digest,
        since: Millis,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        Ok(self.tables().answer(environment, key, since))
    }

    async fn keep(&self, answer: KeptAnswer) -> Result<(), StoreError> {
        self.handover.front.check_open()?;
        self.tables().keep(&answer, None, clock::now());
        Ok(())
    }
}

#[async_trait]
impl Recovery for Memory {
    async fn again_once(
        &self,
        again: Vec<Again>,
        operation: Option<Operation>,
        answer: Option<KeptAnswer>,
    ) -> Result<u64, StoreError> {
        self.handover.front.check_open()?;
        let mut tables = self.tables();
        let catalog = self.handover.snapshot();
        let now = clock::now();
        let known = operation.as_ref().and_then(|operation| tables.operations.get(&operation.id));
        if let Some(new) = operation.as_ref().filter(|new| known.is_none() && goes_on(new))
            && let Some(refusal) =
                recovery::refusal(new, tables.operations.values().filter(|one| goes_on(one)))
        {
            return Err(refusal);
        }
        if known.is_some_and(|known| known.state != operation::State::Running) {
            return Ok(0);
        }
        let (mut due, mut busy) = (Vec::new(), None);
        for one in again {
            match tables.again(&catalog, one, &self.handover, now) {
                Some(Found::Due(resent)) => due.push(resent),
                Some(Found::Nothing) | None => {}
                Some(Found::Busy) => {
                    busy = Some(one.message());
                    break;
                }
            }
        }
        self.handover.free_messages();
        if let Some(answer) = answer {
            tables.keep(&answer, None, now);
        }
        let count = due.len() as u64;
        self.handover.resent(due);
        if let Some(operation) = operation {
            tables.operations.insert(operation.id, operation.after(count, busy));
            self.operations.send_replace(());
        }
        Ok(count)
    }

    async fn begin(
        &self,
        operations: Vec<Operation>,
        answer: Option<AnswerBy<Began>>,
    ) -> Result<Vec<Began>, StoreError> {
        self.handover.front.check_open()?;
        let mut tables = self.tables();
        let began: Vec<Began> = operations
            .into_iter()
            .map(|new| {
                let others = tables.operations.values().filter(|one| goes_on(one));
                recovery::refusal(&new, others).map_or(Ok(()), Err)?;
                tables.operations.insert(new.id, new);
                Ok(())
            })
            .collect();
        if let Some(answer) = answer {
            tables.keep(&answer.kept(&began), None, clock::now());
        }
        self.operations.send_replace(());
        Ok(began)
    }

    async fn candidates(
        &self,
        operation: &Operation,
        max: usize,
    ) -> Result<Page<Candidate, Sequence>, StoreError> {
        let mark = self.handover.front.mark_of(operation.application);
        Ok(self.tables().candidates(operation, mark, max))
    }

    async fn backlog(&self, endpoint: EndpointId, max: usize) -> Result<usize, StoreError> {
        Ok(self.tables().backlog(endpoint, clock::now(), max))
    }

    fn bounds(&self, application: ApplicationId) -> (Sequence, Sequence) {
        let mark = self.handover.front.mark_of(application);
        (Sequence(self.handover.front.head()), mark)
    }

    async fn operation(
        &self,
        environment: EnvironmentId,
        id: OperationId,
    ) -> Result<Option<Operation>, StoreError> {
        let found = self.tables().operations.get(&id).cloned();
        Ok(found.filter(|operation| operation.environment == environment))
    }

    async fn operations(
        &self,
        environment: EnvironmentId,
        application: Option<ApplicationId>,
        max: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        let tables = self.tables();
        let wanted = tables.operations.values().rev().filter(|operation| {
            operation.environment == environment
                && application.is_none_or(|id| operation.application == id)
        });
        Ok(wanted.take(max).cloned().collect())
    }

    async fn running(&self) -> Result<Vec<Operation>, StoreError> {
        let tables = self.tables();
        Ok(tables.operations.values().filter(|one| goes_on(one)).cloned().collect())
    }

    fn watch_operations(&self) -> watch::Receiver<()> {
        self.operations.subscribe()
    }
}

fn goes_on(operation: &Operation) -> bool {
    operation.state == operation::State::Running
}
