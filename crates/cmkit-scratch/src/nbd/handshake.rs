//! The handshake: greeting, options, and what comes out of them.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use super::export::Export;
use super::options::{self, Answers};
use super::protocol::{
    FIXED_NEWSTYLE, NBD_MAGIC, NO_ZEROES, OPTION_MAGIC, OPTION_REPLY_MAGIC, STRING_MAX, opt, rep,
};
use super::wire::{send_all, violation};

/// Bytes of an option's data that are looked at: some names, of 4 KiB at most each.
const DATA_MAX: u32 = 64 << 10;
/// Bytes of an option's data that are skipped. A client that announces more is dropped.
const SKIPPED_MAX: u32 = 1 << 20;
/// Options after which a client is dropped that still doesn't know what it wants.
const OPTIONS_MAX: usize = 1024;
/// Zeros after the reply to EXPORT_NAME, for clients that don't decline them.
const RESERVED: usize = 124;

/// What client and server agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreement {
    /// Replies are structured.
    pub(super) structured: bool,
    /// `base:allocation` was selected.
    pub(super) allocation: bool,
}

/// Whom a handshake is with.
#[derive(Clone, Copy)]
pub(super) enum Welcome<'a> {
    /// A client that may go on to transmission.
    Welcome,
    /// One that is told why not, whatever it asks for.
    Refused(&'a str),
}

/// Speaks with a client until both enter transmission; `None` when the client went away in good order.
pub(super) fn negotiate(
    stream: &UnixStream,
    export: &Export,
    welcome: Welcome<'_>,
) -> io::Result<Option<Agreement>> {
    let mut greeting = Vec::with_capacity(18);
    greeting.extend_from_slice(&NBD_MAGIC.to_be_bytes());
    greeting.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    greeting.extend_from_slice(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    send_all(stream, &greeting)?;

    let flags = u32::from_be_bytes(read_array(stream)?);
    let known = u32::from(FIXED_NEWSTYLE | NO_ZEROES);
    if flags & !known != 0 {
        return Err(violation("it has handshake flags that don't exist"));
    }
    let fixed = flags & u32::from(FIXED_NEWSTYLE) != 0;
    let no_zeroes = flags & u32::from(NO_ZEROES) != 0;

    let mut agreement = Agreement::default();
    for _ in 0..OPTIONS_MAX {
        if u64::from_be_bytes(read_array(stream)?) != OPTION_MAGIC {
            return Err(violation("an option doesn't begin with IHAVEOPT"));
        }
        let option = u32::from_be_bytes(read_array(stream)?);
        let len = u32::from_be_bytes(read_array(stream)?);
        if option == opt::EXPORT_NAME {
            if let Welcome::Refused(_) = welcome {
                return Err(violation("it was refused and its option has no error"));
            }
            export_name(stream, export, len, agreement, no_zeroes)?;
            return Ok(Some(agreement));
        }
        if !fixed {
            return Err(violation(
                "it sent an option of the fixed newstyle without that flag",
            ));
        }
        let Some(data) = option_data(stream, len)? else {
            let problem = match option {
                opt::ABORT => return abort(stream),
                _ if options::is_known(option) => rep::ERR_TOO_BIG,
                _ => rep::ERR_UNSUP,
            };
            let mut answers = Answers::new(option);
            answers.error(problem, "an option has at most 65536 bytes");
            send_all(stream, answers.bytes())?;
            continue;
        };
        if option == opt::ABORT {
            return abort(stream);
        }
        let mut answers = Answers::new(option);
        let mut go = false;
        match welcome {
            Welcome::Refused(why) => answers.error(rep::ERR_POLICY, why),
            Welcome::Welcome => go = options::answer(&data, export, &mut agreement, &mut answers),
        }
        send_all(stream, answers.bytes())?;
        if go {
            return Ok(Some(agreement));
        }
    }
    Err(violation("it sent 1024 options"))
}

/// The one option that has no error: a wrong name ends the connection.
fn export_name(
    stream: &UnixStream,
    export: &Export,
    len: u32,
    agreement: Agreement,
    no_zeroes: bool,
) -> io::Result<()> {
    if len as usize > STRING_MAX {
        return Err(violation(
            "the name of the export is longer than 4096 bytes",
        ));
    }
    let name = read_vec(stream, len)?;
    if !export.is_meant_by(&name) {
        return Err(violation("it asked for an export that isn't served here"));
    }
    let mut reply = Vec::with_capacity(10 + RESERVED);
    reply.extend_from_slice(&export.size.to_be_bytes());
    reply.extend_from_slice(&export.flags(agreement.structured).to_be_bytes());
    if !no_zeroes {
        reply.resize(10 + RESERVED, 0);
    }
    send_all(stream, &reply)
}

/// Acknowledges. That the client may be gone already is in order.
fn abort(stream: &UnixStream) -> io::Result<Option<Agreement>> {
    let mut answers = Answers::new(opt::ABORT);
    answers.ack();
    let _ = send_all(stream, answers.bytes());
    Ok(None)
}

/// An option's data, or `None` when it was too much and is skipped.
fn option_data(stream: &UnixStream, len: u32) -> io::Result<Option<Vec<u8>>> {
    if len > SKIPPED_MAX {
        return Err(violation("an option has more than 1 MiB of data"));
    }
    if len <= DATA_MAX {
        return read_vec(stream, len).map(Some);
    }
    let skipped = io::copy(&mut stream.take(u64::from(len)), &mut io::sink())?;
    if skipped < u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(None)
}

fn read_array<const N: usize>(mut stream: &UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_vec(mut stream: &UnixStream, len: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The head of a reply to an option.
pub(super) fn option_reply(out: &mut Vec<u8>, option: u32, kind: u32, len: usize) {
    out.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    // Names and descriptions of 4 KiB at most.
    out.extend_from_slice(&u32::try_from(len).unwrap_or(0).to_be_bytes());
}
