//! A client that sends what it's told and looks at every byte that comes back.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cmkit::Result;
use cmkit_scratch::{BlockDevice, NbdServer};
use std::sync::Arc;

pub(crate) const ACK: u32 = 1;
pub(crate) const SERVER: u32 = 2;
pub(crate) const INFO: u32 = 3;
pub(crate) const META_CONTEXT: u32 = 4;
pub(crate) const ERR_UNSUP: u32 = 0x8000_0001;
pub(crate) const ERR_POLICY: u32 = 0x8000_0002;
pub(crate) const ERR_INVALID: u32 = 0x8000_0003;
pub(crate) const ERR_UNKNOWN: u32 = 0x8000_0006;
pub(crate) const ERR_TOO_BIG: u32 = 0x8000_0009;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const CACHE: u16 = 5;
pub(crate) const ZEROES: u16 = 6;
pub(crate) const STATUS: u16 = 7;

pub(crate) const FUA: u16 = 1;
pub(crate) const NO_HOLE: u16 = 2;
pub(crate) const DF: u16 = 4;
pub(crate) const REQ_ONE: u16 = 8;
pub(crate) const FAST_ZERO: u16 = 16;

/// Long enough for any machine, so that a fault doesn't hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    structured: bool,
    reads: Vec<(u64, u32)>,
}

/// What came back in the transmission phase.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple {
        error: u32,
        cookie: u64,
        data: Vec<u8>,
    },
    Chunk {
        done: bool,
        kind: u16,
        cookie: u64,
        payload: Vec<u8>,
    },
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Success, with what a read brought.
    Data(Vec<u8>),
    /// An error number, and its sentence.
    Error(u32, String),
}

impl Client {
    pub(crate) fn on(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            structured: false,
            reads: Vec::new(),
        }
    }

    pub(crate) fn connect(socket: &Path) -> Self {
        Self::on(UnixStream::connect(socket).unwrap())
    }

    /// One that has exchanged the greeting.
    pub(crate) fn greeted(mut self) -> Self {
        assert_eq!(self.take(18), greeting());
        self.send(&3u32.to_be_bytes());
        self
    }

    /// One in the transmission phase, with simple replies.
    pub(crate) fn simple(self) -> Self {
        let mut client = self.greeted();
        client.go();
        client
    }

    /// One in the transmission phase, with structured replies and block status.
    pub(crate) fn structured(self) -> Self {
        let mut client = self.greeted();
        assert_eq!(client.option(8, &[]), [(ACK, vec![])]);
        let selected = client.option(10, &queries("", &["base:allocation"]));
        assert_eq!(selected.len(), 2, "{selected:?}");
        client.go();
        client
    }

    pub(crate) fn go(&mut self) {
        let replies = self.option(7, &go_data("", &[]));
        assert_eq!(replies.last().unwrap().0, ACK, "{replies:?}");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    /// That the server ends the connection, without saying anything more.
    pub(crate) fn assert_closed(mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(rest, [0u8; 0]),
            // It closed while bytes of ours were unread.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }

    /// Sends an option and returns its replies, of which the last ends them.
    pub(crate) fn option(&mut self, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send(&option_bytes(option, data));
        let mut replies = Vec::new();
        loop {
            assert_eq!(self.u64(), 0x0003_e889_0455_65a9);
            assert_eq!(self.u32(), option);
            let kind = self.u32();
            let len = self.u32() as usize;
            let data = self.take(len);
            let last = kind == ACK || kind >> 31 == 1;
            replies.push((kind, data));
            if last {
                self.structured |= option == 8 && kind == ACK;
                return replies;
            }
        }
    }

    /// Sends a request; a write's payload has to follow.
    pub(crate) fn request(&mut self, command: u16, flags: u16, cookie: u64, offset: u64, len: u32) {
        if command == READ {
            self.reads.push((cookie, len));
        }
        self.send(&request_bytes(command, flags, cookie, offset, len));
    }

    pub(crate) fn reply(&mut self) -> Reply {
        match self.u32() {
            0x6744_6698 => {
                let error = self.u32();
                let cookie = self.u64();
                let read = self.reads.iter().position(|read| read.0 == cookie);
                let read = read.map(|index| self.reads.swap_remove(index));
                assert!(
                    read.is_none() || !self.structured,
                    "a read has a simple reply"
                );
                let len = match read {
                    Some((_, len)) if error == 0 => len as usize,
                    _ => 0,
                };
                let data = self.take(len);
                Reply::Simple {
                    error,
                    cookie,
                    data,
                }
            }
            0x668e_33ef => {
                assert!(self.structured);
                let flags = self.u16();
                assert!(flags < 2);
                let kind = self.u16();
                let cookie = self.u64();
                let len = self.u32() as usize;
                let payload = self.take(len);
                if flags == 1 {
                    self.reads.retain(|read| read.0 != cookie);
                }
                Reply::Chunk {
                    done: flags == 1,
                    kind,
                    cookie,
                    payload,
                }
            }
            other => panic!("a reply begins with {other:#x}"),
        }
    }

    /// All of a request's reply, when no other one is in flight.
    pub(crate) fn outcome(&mut self, cookie: u64, offset: u64, len: u32) -> Outcome {
        let mut data: Vec<Option<u8>> = vec![None; len as usize];
        let mut error = None;
        loop {
            match self.reply() {
                Reply::Simple {
                    error: 0,
                    cookie: c,
                    data,
                } => {
                    assert_eq!(c, cookie);
                    return Outcome::Data(data);
                }
                Reply::Simple {
                    error, cookie: c, ..
                } => {
                    assert_eq!(c, cookie);
                    return Outcome::Error(error, String::new());
                }
                Reply::Chunk {
                    done,
                    kind,
                    cookie: c,
                    payload,
                } => {
                    assert_eq!(c, cookie);
                    let at = |payload: &[u8]| {
                        let at = u64::from_be_bytes(payload[..8].try_into().unwrap());
                        usize::try_from(at - offset).unwrap()
                    };
                    match kind {
                        0 => assert!(done && payload.is_empty()),
                        1 => {
                            for (byte, &new) in data[at(&payload)..].iter_mut().zip(&payload[8..]) {
                                assert_eq!(byte.replace(new), None, "a byte comes twice");
                            }
                        }
                        2 => {
                            let len = u32::from_be_bytes(payload[8..].try_into().unwrap());
                            for byte in &mut data[at(&payload)..][..len as usize] {
                                assert_eq!(byte.replace(0), None, "a byte comes twice");
                            }
                        }
                        0x8001 | 0x8002 => {
                            let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
                            let len = u16::from_be_bytes(payload[4..6].try_into().unwrap());
                            let text = &payload[6..6 + usize::from(len)];
                            let text = String::from_utf8(text.to_vec()).unwrap();
                            assert_eq!(
                                payload.len(),
                                6 + text.len() + if kind == 0x8002 { 8 } else { 0 }
                            );
                            error = Some((number, text));
                        }
                        other => panic!("a chunk of kind {other:#x}"),
                    }
                    if done {
                        return match error {
                            Some((number, text)) => Outcome::Error(number, text),
                            None => Outcome::Data(data.into_iter().map(Option::unwrap).collect()),
                        };
                    }
                }
            }
        }
    }

    pub(crate) fn call(&mut self, command: u16, flags: u16, offset: u64, len: u32) -> Outcome {
        self.request(command, flags, 7, offset, len);
        let brings = if command == READ { len } else { 0 };
        self.outcome(7, offset, brings)
    }

    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Vec<u8> {
        match self.call(READ, 0, offset, len) {
            Outcome::Data(data) => data,
            Outcome::Error(number, text) => panic!("{number} {text}"),
        }
    }

    pub(crate) fn write_with(&mut self, flags: u16, offset: u64, data: &[u8]) -> Outcome {
        let len = u32::try_from(data.len()).unwrap();
        self.request(WRITE, flags, 9, offset, len);
        self.send(data);
        self.outcome(9, offset, 0)
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        assert_eq!(self.write_with(0, offset, data), Outcome::Data(vec![]));
    }

    /// The extents of a range.
    pub(crate) fn status(&mut self, flags: u16, offset: u64, len: u32) -> Vec<(u32, u32)> {
        self.request(STATUS, flags, 5, offset, len);
        let Reply::Chunk {
            done: true,
            kind: 5,
            cookie: 5,
            payload,
        } = self.reply()
        else {
            panic!("no block status");
        };
        let numbers: Vec<u32> = payload
            .chunks(4)
            .map(|four| u32::from_be_bytes(four.try_into().unwrap()))
            .collect();
        assert_eq!(numbers[0], 1, "the context's number");
        numbers[1..].chunks(2).map(|two| (two[0], two[1])).collect()
    }

    pub(crate) fn disconnect(mut self) {
        self.request(DISC, 0, 0, 0, 0);
        self.assert_closed();
    }
}

pub(crate) fn greeting() -> Vec<u8> {
    [&b"NBDMAGICIHAVEOPT"[..], &[0, 3]].concat()
}

pub(crate) fn option_bytes(option: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    [
        b"IHAVEOPT",
        &option.to_be_bytes()[..],
        &len.to_be_bytes(),
        data,
    ]
    .concat()
}

pub(crate) fn request_bytes(
    command: u16,
    flags: u16,
    cookie: u64,
    offset: u64,
    len: u32,
) -> Vec<u8> {
    [
        &0x2560_9513u32.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &command.to_be_bytes(),
        &cookie.to_be_bytes(),
        &offset.to_be_bytes(),
        &len.to_be_bytes(),
    ]
    .concat()
}

/// A string behind its length.
pub(crate) fn string(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

pub(crate) fn go_data(name: &str, infos: &[u16]) -> Vec<u8> {
    let mut data = string(name);
    data.extend(u16::try_from(infos.len()).unwrap().to_be_bytes());
    data.extend(infos.iter().flat_map(|info| info.to_be_bytes()));
    data
}

pub(crate) fn queries(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = string(name);
    data.extend(u32::try_from(queries.len()).unwrap().to_be_bytes());
    data.extend(queries.iter().flat_map(|query| string(query)));
    data
}

/// A client of a connection without a server, and what serving it comes to.
pub(crate) fn served(device: Arc<dyn BlockDevice>) -> (Client, JoinHandle<Result<()>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let builder = NbdServer::builder(device)
        .name("disk")
        .description("for tests");
    let thread = thread::spawn(move || builder.serve_connection(&theirs));
    (Client::on(ours), thread)
}
