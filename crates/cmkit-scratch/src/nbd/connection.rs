//! One client, from its greeting to its end.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::export::{Export, count};
use super::handshake::{Welcome, negotiate};
use super::pool;
use super::protocol::{REQUEST_LEN, cmd};
use super::reply::{Outlet, PIECE, Replies};
use super::request::{Request, SKIPPED_MAX};
use super::session::{Session, until_cut};
use super::wire::{Input, violation};
use crate::aligned::AlignedBuffer;

/// How long a client may say nothing before it has chosen an export.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves a client until it leaves, which is `Ok` when it does so between two requests.
pub(super) fn serve(stream: &UnixStream, export: &Export) -> io::Result<()> {
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let Some(agreement) = negotiate(stream, export, Welcome::Welcome)? else {
        return Ok(());
    };
    stream.set_read_timeout(None)?;
    let session = Session { export, agreement };
    let outlet = Outlet::new(stream);
    if export.geometry.is_blocking {
        return pool::transmit(stream, &session, &outlet);
    }
    transmit(stream, &session, &outlet)
}

/// Tells a client why it isn't served.
pub(super) fn refuse(stream: &UnixStream, export: &Export, why: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    negotiate(stream, export, Welcome::Refused(why)).map(drop)
}

/// Carries out each request on this thread as it comes. Replies are sent when there is no other request to carry out.
fn transmit(stream: &UnixStream, session: &Session<'_>, outlet: &Outlet<'_>) -> io::Result<()> {
    let mut input = Input::new(stream);
    let mut replies = Replies::new(outlet, session.agreement.structured);
    let mut piece = None;
    loop {
        let Some(request) = next_request(&mut input, || replies.flush())? else {
            return replies.flush();
        };
        match request.command {
            cmd::DISC => return replies.flush(),
            cmd::WRITE if request.bytes() <= Input::IN_PLACE => {
                write_in_place(&request, session, &mut input, &mut replies)?;
            }
            cmd::WRITE => {
                let piece = piece.get_or_insert_with(|| AlignedBuffer::new(PIECE));
                write_in_pieces(&request, session, &mut input, piece, &mut replies)?;
            }
            _ => session.execute(&request, &mut replies)?,
        }
    }
}

/// The next request; `None` when the client has left between two. `before_waiting` is called before anything that may wait.
pub(super) fn next_request(
    input: &mut Input<'_>,
    mut before_waiting: impl FnMut() -> io::Result<()>,
) -> io::Result<Option<Request>> {
    loop {
        if let Some(head) = input.head() {
            let request = Request::parse(&head);
            let request = request.ok_or_else(|| violation("a request has a wrong magic number"))?;
            if request.command == cmd::WRITE && request.len > SKIPPED_MAX {
                return Err(violation("a write announces more than 256 MiB"));
            }
            return Ok(Some(request));
        }
        before_waiting()?;
        if input.receive(REQUEST_LEN)? == 0 {
            return match input.available() {
                0 => Ok(None),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
}

fn write_in_place(
    request: &Request,
    session: &Session<'_>,
    input: &mut Input<'_>,
    replies: &mut Replies<'_>,
) -> io::Result<()> {
    input.expect_small();
    while input.available() < request.bytes() {
        replies.flush()?;
        if input.receive(request.bytes())? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let data = input.take(request.bytes());
    count(&session.export.counters.requests, 1);
    match session.check(request) {
        Ok(()) => session.answer(request, session.write(request, data, 0), replies),
        Err(refusal) => session.refuse(request, refusal, replies),
    }
}

/// Writes a large payload while it comes. After an error, the rest of it is received and dropped.
fn write_in_pieces(
    request: &Request,
    session: &Session<'_>,
    input: &mut Input<'_>,
    piece: &mut AlignedBuffer,
    replies: &mut Replies<'_>,
) -> io::Result<()> {
    replies.flush()?;
    count(&session.export.counters.requests, 1);
    let checked = session.check(request);
    let mut written = Ok(());
    let mut at = 0;
    while at < request.bytes() {
        let cut = until_cut(request.offset.wrapping_add(at as u64)) as usize;
        let data = &mut piece[..cut.min(request.bytes() - at)];
        input.fill(data)?;
        if checked.is_ok() && written.is_ok() {
            written = session.write(request, data, at);
        }
        at += data.len();
    }
    match checked {
        Ok(()) => session.answer(request, written, replies),
        Err(refusal) => session.refuse(request, refusal, replies),
    }
}
