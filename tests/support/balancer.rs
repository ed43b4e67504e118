//! A load balancer: each connection goes to the next ready replica.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::PATIENCE;
use crate::process::Service;

#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
}

struct Replica {
    address: SocketAddr,
    is_ready: AtomicBool,
}

impl Balancer {
    /// Starts a balancer on a free port. It probes the readiness of each replica ten times per second.
    pub async fn start<'a>(services: impl IntoIterator<Item = &'a Service>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut replicas = Vec::new();
        for service in services {
            let replica = Arc::new(Replica { address: service.address, is_ready: AtomicBool::new(true) });
            tokio::spawn(watch(replica.clone(), service.admin_url("/readyz?exclude=store")));
            replicas.push(replica);
        }
        let replicas: Arc<[_]> = replicas.into();
        let turn = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (replicas, first) = (replicas.clone(), turn.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(async move {
                    for place in 0..replicas.len() {
                        let replica = &replicas[(first + place) % replicas.len()];
                        if replica.is_ready.load(Ordering::Relaxed)
                            && let Ok(mut server) = TcpStream::connect(replica.address).await
                        {
                            client.set_nodelay(true).unwrap();
                            server.set_nodelay(true).unwrap();
                            let _ = copy_bidirectional(&mut client, &mut server).await;
                            return;
                        }
                    }
                });
            }
        });
        Self { address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A late response says nothing about readiness, so probes have a long timeout.
async fn watch(replica: Arc<Replica>, url: String) {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    loop {
        let answer = client.get(&url).send().await;
        replica.is_ready.store(answer.is_ok_and(|answer| answer.status().is_success()), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
