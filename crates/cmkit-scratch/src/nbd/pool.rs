//! Threads that wait for a slow device, so that one request doesn't wait for another.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::connection::next_request;
use super::export::count;
use super::protocol::cmd;
use super::reply::{Outlet, Replies};
use super::request::{ACCEPTED_MAX, Request};
use super::session::Session;
use super::wire::Input;
use crate::aligned::AlignedBuffer;

/// Threads of a connection, made as they are needed. Each connection has its own, so that a client which doesn't read its replies blocks only itself.
const WORKERS: usize = 16;
/// Requests of a connection that wait or are being carried out.
const REQUESTS: usize = 64;
/// Bytes of payload of these, and of replies that are in memory as a whole; one request may have them all.
const PAYLOAD: usize = ACCEPTED_MAX as usize;
/// Bytes of a payload's memory that is kept for the next one, and how many such.
const KEPT: usize = 1 << 20;
const KEPT_COUNT: usize = 16;

struct Job {
    request: Request,
    payload: Option<AlignedBuffer>,
    /// Bytes of memory that it takes.
    room: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    in_flight: usize,
    payload: usize,
    idle: usize,
    workers: usize,
    kept: Vec<AlignedBuffer>,
    no_more: bool,
    failed: Option<io::Error>,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

/// Receives requests and has them carried out by as many threads as they keep busy. Replies go out in the order in which they are done.
pub(super) fn transmit(
    stream: &UnixStream,
    session: &Session<'_>,
    outlet: &Outlet<'_>,
) -> io::Result<()> {
    let pool = Pool::default();
    let received = thread::scope(|scope| {
        let received = receive(stream, session, outlet, &pool, |work| {
            thread::Builder::new()
                .name("cmkit-nbd-io".to_owned())
                .spawn_scoped(scope, work)
                .map(drop)
        });
        if received.is_err() {
            // Threads may be waiting for the client to take their replies.
            outlet.close();
        }
        pool.lock().no_more = true;
        pool.work.notify_all();
        received
    });
    let failed = pool.lock().failed.take();
    failed.map_or(received, Err)
}

fn receive<'a>(
    stream: &'a UnixStream,
    session: &'a Session<'_>,
    outlet: &'a Outlet<'_>,
    pool: &'a Pool,
    spawn: impl Fn(Box<dyn FnOnce() + Send + 'a>) -> io::Result<()>,
) -> io::Result<()> {
    let mut input = Input::new(stream);
    let mut replies = Replies::new(outlet, session.agreement.structured);
    while let Some(request) = next_request(&mut input, || Ok(()))? {
        if request.command == cmd::DISC {
            break;
        }
        let payload = match request.command {
            cmd::WRITE => match session.check(&request) {
                Ok(()) => request.bytes(),
                Err(refusal) => {
                    count(&session.export.counters.requests, 1);
                    skip(&mut input, request.bytes())?;
                    session.refuse(&request, refusal, &mut replies)?;
                    replies.flush()?;
                    continue;
                }
            },
            _ => 0,
        };
        let room = payload.max(session.reply_room(&request));
        let mut job = Job {
            request,
            payload: pool.enter(payload, room),
            room,
        };
        if let Some(data) = &mut job.payload {
            input.fill(&mut data[..payload])?;
            if payload <= Input::IN_PLACE {
                input.expect_small();
            }
        }
        if pool.wants_worker() && spawn(Box::new(move || work(session, outlet, pool))).is_err() {
            pool.lock().workers -= 1;
            if pool.lock().workers == 0 {
                carry_out(session, &mut job, &mut replies)?;
                pool.leave(job);
                continue;
            }
        }
        pool.lock().jobs.push_back(job);
        pool.work.notify_one();
    }
    Ok(())
}

fn skip(input: &mut Input<'_>, mut len: usize) -> io::Result<()> {
    let mut into = [0; 4096];
    while len > 0 {
        let here = len.min(into.len());
        input.fill(&mut into[..here])?;
        len -= here;
    }
    Ok(())
}

fn work(session: &Session<'_>, outlet: &Outlet<'_>, pool: &Pool) {
    let mut replies = Replies::new(outlet, session.agreement.structured);
    let panicked = CloseOnPanic { outlet, pool };
    while let Some(mut job) = pool.next() {
        let done = carry_out(session, &mut job, &mut replies);
        if let Err(error) = done {
            outlet.close();
            pool.lock().failed.get_or_insert(error);
        }
        pool.leave(job);
    }
    drop(panicked);
}

/// Has a connection end whose device panicked, instead of waiting for a request that is never done.
struct CloseOnPanic<'a> {
    outlet: &'a Outlet<'a>,
    pool: &'a Pool,
}

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.outlet.close();
            let mut state = self.pool.lock();
            (state.in_flight, state.payload) = (0, 0);
            drop(state);
            self.pool.room.notify_all();
        }
    }
}

fn carry_out(session: &Session<'_>, job: &mut Job, replies: &mut Replies<'_>) -> io::Result<()> {
    let Job {
        request, payload, ..
    } = job;
    match payload {
        Some(data) => {
            count(&session.export.counters.requests, 1);
            let written = session.write(request, &mut data[..request.bytes()], 0);
            session.answer(request, written, replies)?;
        }
        None => session.execute(request, replies)?,
    }
    replies.flush()
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another request has room, and gives it memory for its payload.
    fn enter(&self, payload: usize, room: usize) -> Option<AlignedBuffer> {
        let full = |state: &mut State| {
            state.in_flight >= REQUESTS || (state.payload > 0 && state.payload + room > PAYLOAD)
        };
        let waited = self.room.wait_while(self.lock(), full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.in_flight += 1;
        state.payload += room;
        if payload == 0 {
            return None;
        }
        let found = state.kept.iter().position(|kept| kept.len() >= payload);
        let kept = found.map(|index| state.kept.swap_remove(index));
        drop(state);
        Some(kept.unwrap_or_else(|| {
            AlignedBuffer::new(payload.next_multiple_of(AlignedBuffer::ALIGNMENT))
        }))
    }

    /// Whether all threads are busy and there may be another one, which is counted.
    fn wants_worker(&self) -> bool {
        let mut state = self.lock();
        let wants = state.idle <= state.jobs.len() && state.workers < WORKERS;
        state.workers += usize::from(wants);
        wants
    }

    /// The next job; `None` when there are no more.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        state.idle += 1;
        let waited = self
            .work
            .wait_while(state, |state| state.jobs.is_empty() && !state.no_more);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        state.jobs.pop_front()
    }

    fn leave(&self, job: Job) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.payload = state.payload.saturating_sub(job.room);
        if let Some(payload) = job.payload
            && payload.len() <= KEPT
            && state.kept.len() < KEPT_COUNT
        {
            state.kept.push(payload);
        }
        drop(state);
        self.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_replies_take_turns() {
        let pool = Pool::default();
        let read = |room| {
            let request = Request {
                flags: 0,
                command: cmd::READ,
                cookie: 0,
                offset: 0,
                len: 0,
            };
            Job {
                request,
                payload: pool.enter(0, room),
                room,
            }
        };
        let first = read(PAYLOAD);
        thread::scope(|scope| {
            let second = scope.spawn(|| pool.leave(read(1)));
            assert_eq!(pool.lock().payload, PAYLOAD);
            pool.leave(first);
            second.join().unwrap();
        });
        let state = pool.lock();
        assert_eq!((state.payload, state.in_flight), (0, 0));
    }
}
