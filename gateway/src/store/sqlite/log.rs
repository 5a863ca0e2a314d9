//! The ports to what was recorded and to what is sent again, on the file. Reads have connections of their own.

use super::{Sqlite, read, recovery, search, writer::Op};
use crate::{
    clock,
    model::{
        endpoint::Version,
        id::{ApplicationId, EndpointId, EnvironmentId, OperationId},
        message::Sequence,
        operation::Operation,
    },
    store::{
        Again, AnswerBy, Began, Candidate, DeadLetter, DeadLetterFilter, DeliveryFilter,
        DeliveryRecord, KeptAnswer, Log, MessageFilter, MessageRecord, Page, Recovery, StoreError,
        Summary, add_open,
    },
};
use async_trait::async_trait;
use tokio::sync::watch;

#[async_trait]
impl Log for Sqlite {
    async fn message(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Result<Option<MessageRecord>, StoreError> {
        let wanted = id_or_uid.to_owned();
        self.readers.read(move |c| read::message(c, environment, application, &wanted)).await
    }

    async fn messages(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        filter: MessageFilter,
        limit: usize,
    ) -> Result<Page<MessageRecord, Sequence>, StoreError> {
        let page = move |c: &_| search::messages(c, environment, application, &filter, limit);
        self.readers.read(page).await
    }

    async fn deliveries(&self, message: Sequence) -> Result<Vec<DeliveryRecord>, StoreError> {
        let open = self.handover.front.open(message);
        let mut records = self.readers.read(move |c| read::deliveries(c, message)).await?;
        add_open(&mut records, &open);
        Ok(records)
    }

    async fn deliveries_to(
        &self,
        endpoint: EndpointId,
        filter: DeliveryFilter,
        limit: usize,
    ) -> Result<Page<Summary, (Sequence, u32)>, StoreError> {
        self.readers.read(move |c| search::deliveries_to(c, endpoint, &filter, limit)).await
    }

    async fn dead_letters(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        filter: DeadLetterFilter,
        limit: usize,
    ) -> Result<Page<DeadLetter, Sequence>, StoreError> {
        let page =
            move |c: &_| search::dead_letters::page(c, environment, application, &filter, limit);
        self.readers.read(page).await
    }

    async fn version(
        &self,
        endpoint: EndpointId,
        revision: u64,
    ) -> Result<Option<Version>, StoreError> {
        self.readers.read(move |c| read::version(c, endpoint, revision)).await
    }
}

#[async_trait]
impl Recovery for Sqlite {
    async fn again_once(
        &self,
        again: Vec<Again>,
        operation: Option<Operation>,
        answer: Option<KeptAnswer>,
    ) -> Result<u64, StoreError> {
        let kept = operation.is_some();
        let (operation, answer) = (operation.map(Box::new), answer.map(Box::new));
        let due = self.ask(|reply| Op::Again(again, operation, answer, reply)).await?;
        if kept {
            self.operations.send_replace(());
        }
        Ok(due)
    }

    async fn begin(
        &self,
        operations: Vec<Operation>,
        answer: Option<AnswerBy<Began>>,
    ) -> Result<Vec<Began>, StoreError> {
        let began = self.ask(|reply| Op::Begin(operations, answer, reply)).await?;
        self.operations.send_replace(());
        Ok(began)
    }

    async fn candidates(
        &self,
        operation: &Operation,
        max: usize,
    ) -> Result<Page<Candidate, Sequence>, StoreError> {
        let mark = self.handover.front.mark_of(operation.application);
        let operation = operation.clone();
        self.readers.read(move |c| recovery::candidates(c, &operation, mark, max)).await
    }

    async fn backlog(&self, endpoint: EndpointId, max: usize) -> Result<usize, StoreError> {
        let now = clock::now();
        self.readers.read(move |c| recovery::backlog(c, endpoint, now, max)).await
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
        self.readers.read(move |c| recovery::find(c, environment, id)).await
    }

    async fn operations(
        &self,
        environment: EnvironmentId,
        application: Option<ApplicationId>,
        max: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        self.readers.read(move |c| recovery::list(c, environment, application, max)).await
    }

    async fn running(&self) -> Result<Vec<Operation>, StoreError> {
        self.readers.read(recovery::running).await
    }

    fn watch_operations(&self) -> watch::Receiver<()> {
        self.operations.subscribe()
    }
}
