//! The NATS doors, assembled: which environment each serves, and who the gateway is there. One connection serves them
//! all, but for doors into another account, which have one of their own.

use super::Failure;
use crate::{
    api::{CheckName, CheckUrl},
    config::Config,
    deliver::{
        client::Client,
        guard::Guard,
        nats::{Publisher, SCHEME, Subjects},
    },
    ingest::{
        accept::Acceptor,
        nats::{Door, replies::Replies},
    },
    model::{Millis, catalog::Snapshot, id::EnvironmentId},
    nats::{Connection, State},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Which subjects deliveries may go to.
pub fn subjects(on: bool, config: &Config, catalog: &Snapshot) -> Subjects {
    let named = |name: &str| Some((catalog.environment(name)?, name.to_owned()));
    let declared = config.environments.iter().filter_map(|environment| named(&environment.name));
    let environments = named(EnvironmentId::DEFAULT_NAME).into_iter().chain(declared).collect();
    Subjects::new(on, &config.delivery.nats, config.ingest.nats.prefixes(), environments)
}

/// Whether a URL may be an endpoint's: a subject, or an address.
pub fn check_url(subjects: Subjects, guard: Guard) -> CheckUrl {
    Arc::new(move |url, application| match url.scheme() {
        SCHEME => subjects.check(url, application).map(drop).map_err(|bad| bad.to_string()),
        _ => guard.check_url(url).map_err(|bad| bad.to_string()),
    })
}

/// Whether what a URL's name means just now may be called: asked by what delivers, and not of a subject.
pub fn check_name(http: Client) -> CheckName {
    Arc::new(move |url| {
        let (http, url) = (http.clone(), url.clone());
        Box::pin(async move {
            match url.scheme() {
                SCHEME => Ok(()),
                _ => http.check_name(&url).await,
            }
        })
    })
}

/// What publishes deliveries: of an environment whose door is in an account of its own, there.
pub fn publisher(
    nats: &Option<Connections>,
    config: &Config,
    catalog: &Snapshot,
    subjects: &Subjects,
) -> Publisher {
    let mut accounts = HashMap::new();
    if let Some(nats) = nats {
        let doors = config.ingest.nats.doors.iter().zip(&nats.accounts);
        for (door, account) in doors {
            if let (Some(environment), Some(account)) =
                (catalog.environment(&door.environment), account)
            {
                accounts.entry(environment).or_insert_with(|| account.clone());
            }
        }
    }
    Publisher {
        connection: nats.as_ref().map(|nats| nats.main.clone()),
        accounts,
        subjects: subjects.clone(),
        timeout: Duration::from_millis(config.delivery.timeout_ms),
    }
}

/// The connections to NATS.
#[derive(Clone)]
pub struct Connections {
    /// The gateway's own.
    pub main: Connection,
    /// Those of doors into other accounts, in the order of `ingest.nats.doors`.
    accounts: Vec<Option<Connection>>,
}

impl Connections {
    /// Connections that are being made; none if no server is named.
    pub async fn open(config: &Config) -> Result<Option<Self>, Failure> {
        let options = &config.nats;
        let identity = options.identity();
        let main = Connection::open(options, &identity, "nats").await.map_err(Failure::Config)?;
        let ingest = &config.ingest.nats;
        let Some(main) = main else {
            let line = "configuration: key `ingest.nats`: sources and doors need `nats.servers`";
            return match ingest.sources.is_empty() && ingest.doors.is_empty() {
                true => Ok(None),
                false => Err(Failure::Config(line.into())),
            };
        };
        let mut accounts = Vec::new();
        for door in &config.ingest.nats.doors {
            accounts.push(match &door.account {
                None => None,
                Some(account) if account.resolved() == identity.resolved() => None,
                Some(account) => Connection::open(options, account, "ingest.nats.doors.account")
                    .await
                    .map_err(Failure::Config)?,
            });
        }
        Ok(Some(Self { main, accounts }))
    }

    /// The doors: the main one with the sources, and those of other environments.
    pub fn doors(
        &self,
        config: &Config,
        acceptor: &Acceptor,
        catalog: &Snapshot,
    ) -> Result<Vec<Door>, Failure> {
        let environment = |name: &str| {
            let missing = || Failure::Config(format!("ingest.nats: no environment `{name}`"));
            catalog.environment(name).ok_or_else(missing)
        };
        let options = &config.ingest.nats;
        let replies = Arc::new(options.replies());
        let mut main = self.door(&options.prefix, &options.queue, acceptor, &replies);
        for source in &options.sources {
            main.sources.push((source.clone(), environment(&source.environment)?));
        }
        let mut doors = vec![main];
        for (options, account) in options.doors.iter().zip(&self.accounts) {
            let mut door = self.door(&options.prefix, &options.queue, acceptor, &replies);
            door.environment = environment(&options.environment)?;
            if let Some(account) = account {
                door.connection = account.clone();
            }
            doors.push(door);
        }
        Ok(doors)
    }

    fn door(&self, prefix: &str, queue: &str, acceptor: &Acceptor, replies: &Arc<Replies>) -> Door {
        Door {
            acceptor: acceptor.at("nats"),
            connection: self.main.clone(),
            prefix: prefix.to_owned(),
            queue: queue.to_owned(),
            environment: EnvironmentId::DEFAULT,
            replies: replies.clone(),
            sources: Vec::new(),
        }
    }

    /// How they are doing at `now`: connected, if all are.
    #[must_use]
    pub fn state(&self, now: Millis) -> State {
        let mut state = self.main.state(now);
        for account in self.accounts.iter().flatten() {
            let other = account.state(now);
            state.connected &= other.connected;
            state.connections += other.connections;
            state.doors.extend(other.doors);
        }
        state
    }
}
