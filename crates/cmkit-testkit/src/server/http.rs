//! HTTP/1.1 as a server needs it: requests read strictly, answers written in one piece.

use std::io::{self, Read, Write};
use std::time::SystemTime;

use crate::clock;

const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 1024 * 1024;

const MAX_HEADERS: usize = 64;

/// How a request came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// To the listener's own address.
    Direct,
    /// Through the proxy: a tunnel, or a whole URL in the request line.
    Proxy,
}

/// A request, read to its end.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// From the Host header or the request line, lower case, without `:443`.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) via: Via,
    /// How often everything had been reset when it came.
    pub(crate) resets: u64,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    fn wants_close(&self) -> bool {
        let wish = self.header("connection").unwrap_or_default();
        wish.eq_ignore_ascii_case("close")
    }
}

/// An answer, and how to break off sending it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Send so much of the body, then close without a word.
    pub(crate) cut_after: Option<usize>,
}

impl Response {
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::empty(status)
            .with("Content-Type", "application/json; charset=utf-8")
            .containing(body.to_string())
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn containing(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Replaces a header, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
    }
}

/// A connection with the bytes that were read beyond a request.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next request; `None` when the peer has closed between two of them.
    pub(crate) fn read(&mut self) -> io::Result<Option<Request>> {
        let (mut request, head_len) = loop {
            if let Some(found) = parse_head(&self.buffer)? {
                break found;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(invalid("the head of a request is too long"));
            }
            if !self.more()? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        };
        self.buffer.drain(..head_len);
        if request.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.stream.flush()?;
        }
        request.body = match (
            request.header("transfer-encoding"),
            request.header("content-length"),
        ) {
            (Some(_), Some(_)) => return Err(invalid("two lengths")),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => self.chunks()?,
            (Some(_), None) => return Err(invalid("unknown transfer coding")),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| invalid("bad content length"))?;
                self.exactly(length)?
            }
            (None, None) => Vec::new(),
        };
        Ok(Some(request))
    }

    /// Sends an answer; whether the connection may be used again.
    pub(crate) fn write(&mut self, request: &Request, response: &Response) -> io::Result<bool> {
        let close = request.wants_close() || response.cut_after.is_some();
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\n",
            response.status,
            reason(response.status)
        );
        bytes.push_str(&format!(
            "Date: {}\r\n",
            clock::http_date(SystemTime::now())
        ));
        for (name, value) in &response.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        if response.status != 204 {
            bytes.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
        }
        bytes.push_str(if close {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        });
        let mut bytes = bytes.into_bytes();
        let len = response.body.len();
        if response.status != 204 && request.method != "HEAD" {
            let len = response.cut_after.map_or(len, |cut| cut.min(len));
            bytes.extend_from_slice(&response.body[..len]);
        }
        self.stream.write_all(&bytes)?;
        self.stream.flush()?;
        Ok(!close)
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut piece = [0; 8192];
        let len = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..len]);
        Ok(len > 0)
    }

    fn exactly(&mut self, len: usize) -> io::Result<Vec<u8>> {
        if len > MAX_BODY {
            return Err(invalid("the body of a request is too long"));
        }
        while self.buffer.len() < len {
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..len).collect())
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| invalid("a line is not text"));
            }
            if self.buffer.len() > MAX_HEAD || !self.more()? {
                return Err(invalid("a line without an end"));
            }
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("bad chunk size"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            if body.len() > MAX_BODY || self.exactly(2)? != b"\r\n" {
                return Err(invalid("a bad chunk"));
            }
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let status = head.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(len) = status else {
        return Ok(None);
    };
    let method = head.method.unwrap_or_default().to_owned();
    let target = head.path.unwrap_or_default().to_owned();
    let headers = head
        .headers
        .iter()
        .map(|header| {
            let value = std::str::from_utf8(header.value).map_err(io::Error::other)?;
            Ok((header.name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let named = find(&headers, "host").unwrap_or_default().to_owned();
    let (via, host, target) = match target.strip_prefix("http://") {
        _ if method == "CONNECT" => (Via::Proxy, target, String::new()),
        None => (Via::Direct, named, target),
        Some(rest) => {
            let at = rest.find('/').unwrap_or(rest.len());
            (Via::Proxy, rest[..at].to_owned(), rest[at..].to_owned())
        }
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let request = Request {
        host: plain_host(&host),
        path: path.to_owned(),
        query: pairs(query),
        method,
        headers,
        body: Vec::new(),
        via,
        resets: 0,
    };
    Ok(Some((request, len)))
}

/// Lower case, and without the port that https has anyway.
pub(crate) fn plain_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(":443").map(str::to_owned).unwrap_or(host)
}

/// The pairs of a query or a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

pub(crate) fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn wire(bytes: &str) -> Wire<Cursor<Vec<u8>>> {
        Wire::new(Cursor::new(bytes.as_bytes().to_vec()))
    }

    fn read(bytes: &str) -> io::Result<Option<Request>> {
        wire(bytes).read()
    }

    #[test]
    fn requests_follow_one_another() {
        let mut wire = wire(
            "POST /a?x=%41+b&y HTTP/1.1\r\nHost: H:443\r\nContent-Length: 3\r\n\r\nonePOST / \
             HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1;x\r\no\r\n0\r\n\r\n",
        );
        let one = wire.read().unwrap().unwrap();
        assert_eq!((one.host.as_str(), one.path.as_str()), ("h", "/a"));
        assert_eq!((one.query("x"), one.query("y")), (Some("A b"), Some("")));
        assert_eq!((one.body.as_slice(), one.via), (&b"one"[..], Via::Direct));
        assert_eq!(wire.read().unwrap().unwrap().body, b"two");
        assert!(wire.read().unwrap().is_none());
    }

    #[test]
    fn whole_urls_come_by_proxy() {
        let url = "GET http://169.254.169.254/metadata?a=b HTTP/1.1\r\nHost: other\r\n\r\n";
        let request = read(url).unwrap().unwrap();
        assert_eq!(request.host, "169.254.169.254");
        assert_eq!(
            (request.path.as_str(), request.via),
            ("/metadata", Via::Proxy)
        );
        let tunnel = "CONNECT v.vault.azure.net:443 HTTP/1.1\r\n\r\n";
        let request = read(tunnel).unwrap().unwrap();
        assert_eq!(request.host, "v.vault.azure.net");
    }

    #[test]
    fn bad_requests_are_errors() {
        for text in [
            "GET / HTTP/1.1\r\nHost",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nfour",
            "GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfour\r\n0\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
