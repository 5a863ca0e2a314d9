//! A name server on a UDP port of loopback, which says what a test wants: also something else every time it is asked.

use hickory_resolver::proto::{
    op::Message,
    rr::{RData, Record, RecordType},
};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::{net::UdpSocket, task::AbortHandle};

/// What the name server says of each name, answer by answer; the last one stays. Nothing is to be kept: a TTL of 0.
pub(crate) type Zone = HashMap<String, Vec<Vec<IpAddr>>>;

/// A name server on a port of loopback.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    /// One that says that.
    pub(crate) async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let asked = Arc::new(Mutex::default());
        let task = tokio::spawn(serve(socket, zone, asked.clone())).abort_handle();
        Self { address, asked, task }
    }

    /// The names that were asked for, without their dot, each as often as for an IPv4 address.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

async fn serve(socket: UdpSocket, zone: Zone, asked: Arc<Mutex<Vec<String>>>) {
    let mut turns: HashMap<(String, RecordType), usize> = HashMap::new();
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let query = Message::from_vec(&buffer[..length]).expect("a query");
        let question = query.queries[0].clone();
        let (kind, name) = (question.query_type(), question.name().clone());
        let key = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if kind == RecordType::A {
            asked.lock().expect("not poisoned").push(key.clone());
        }
        let mut answer = query.into_response();
        answer.metadata.recursion_available = true;
        let turn = turns.entry((key.clone(), kind)).or_default();
        let said = zone.get(&key).and_then(|said| said.get(*turn).or_else(|| said.last()));
        *turn += 1;
        for address in said.into_iter().flatten() {
            let data = match (address, kind) {
                (IpAddr::V4(address), RecordType::A) => RData::A((*address).into()),
                (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA((*address).into()),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(name.clone(), 0, data));
        }
        socket.send_to(&answer.to_vec().expect("encodes"), from).await.expect("is sent");
    }
}
