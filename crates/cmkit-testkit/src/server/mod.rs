//! Listeners and connections: one thread each, kept alive, closed when the server is dropped.

mod connection;
pub(crate) mod http;
pub(crate) mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::state::Shared;

/// Both listeners, on loopback.
pub(crate) struct Server {
    shared: Arc<Shared>,
    open: Arc<Open>,
    plain: SocketAddr,
    tls: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

/// Connections that are open, so that they can be closed from elsewhere.
#[derive(Default)]
struct Open(Mutex<(u64, HashMap<u64, TcpStream>)>);

impl Server {
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let open = Arc::new(Open::default());
        let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let tls = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (plain_address, tls_address) = (plain.local_addr()?, tls.local_addr()?);
        let threads = vec![
            accept(
                plain,
                Arc::clone(&shared),
                Arc::clone(&open),
                connection::plain,
            ),
            accept(tls, Arc::clone(&shared), Arc::clone(&open), connection::tls),
        ];
        Ok(Self {
            shared,
            open,
            plain: plain_address,
            tls: tls_address,
            threads,
        })
    }

    /// The proxy, the identity endpoints and control.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.plain
    }

    /// TLS without the proxy.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.tls
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the threads that accept.
        for address in [self.plain, self.tls] {
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.open.close_all();
    }
}

type Handler = fn(&Arc<Shared>, TcpStream) -> io::Result<()>;

fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    open: Arc<Open>,
    handler: Handler,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.is_stopped() {
                return;
            }
            let Ok(stream) = stream else { continue };
            // Answers are written whole: waiting for more would only add delay.
            let _ = stream.set_nodelay(true);
            let Some(number) = open.add(&stream) else {
                continue;
            };
            let (shared, open) = (Arc::clone(&shared), Arc::clone(&open));
            thread::spawn(move || {
                // What clients break off is their own affair.
                let _ = handler(&shared, stream);
                open.remove(number);
            });
        }
    })
}

impl Open {
    fn add(&self, stream: &TcpStream) -> Option<u64> {
        let copy = stream.try_clone().ok()?;
        let mut open = self.lock();
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, copy);
        Some(number)
    }

    fn remove(&self, number: u64) {
        if let Some(stream) = self.lock().1.remove(&number) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn close_all(&self) {
        for stream in self.lock().1.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, HashMap<u64, TcpStream>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
