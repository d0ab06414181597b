//! The options of the fixed newstyle, each with its answers.

use super::export::Export;
use super::handshake::{Agreement, option_reply};
use super::protocol::{BASE_ALLOCATION, BASE_ALLOCATION_ID, STRING_MAX, info, opt, rep};
use super::request::PAYLOAD_MAX;

/// The replies to one option.
pub(super) struct Answers {
    option: u32,
    bytes: Vec<u8>,
}

impl Answers {
    pub(super) fn new(option: u32) -> Self {
        Self {
            option,
            bytes: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn ack(&mut self) {
        self.add(rep::ACK, &[]);
    }

    pub(super) fn error(&mut self, kind: u32, message: &str) {
        self.add(kind, &[message.as_bytes()]);
    }

    fn add(&mut self, kind: u32, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum();
        option_reply(&mut self.bytes, self.option, kind, len);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    fn info(&mut self, kind: u16, parts: &[&[u8]]) {
        let kind = kind.to_be_bytes();
        let mut all: Vec<&[u8]> = vec![&kind];
        all.extend_from_slice(parts);
        self.add(rep::INFO, &all);
    }
}

/// Whether we know the option.
pub(super) fn is_known(option: u32) -> bool {
    matches!(
        option,
        opt::EXPORT_NAME
            | opt::ABORT
            | opt::LIST
            | opt::INFO
            | opt::GO
            | opt::STRUCTURED_REPLY
            | opt::LIST_META_CONTEXT
            | opt::SET_META_CONTEXT
    )
}

/// Answers an option; true when transmission begins.
pub(super) fn answer(
    data: &[u8],
    export: &Export,
    agreement: &mut Agreement,
    answers: &mut Answers,
) -> bool {
    match answers.option {
        opt::LIST => list(data, export, answers),
        opt::INFO => {
            tell(data, export, *agreement, answers);
        }
        opt::GO => return tell(data, export, *agreement, answers),
        opt::STRUCTURED_REPLY if data.is_empty() => {
            agreement.structured = true;
            answers.ack();
        }
        opt::STRUCTURED_REPLY => answers.error(rep::ERR_INVALID, "this option has no data"),
        opt::LIST_META_CONTEXT => meta_context(data, export, agreement, answers),
        opt::SET_META_CONTEXT => {
            // What was selected before is gone, also when this fails.
            agreement.allocation = false;
            meta_context(data, export, agreement, answers);
        }
        _ => answers.error(rep::ERR_UNSUP, "this server doesn't know the option"),
    }
    false
}

fn list(data: &[u8], export: &Export, answers: &mut Answers) {
    if !data.is_empty() {
        answers.error(rep::ERR_INVALID, "this option has no data");
        return;
    }
    let name = export.name.as_bytes();
    // At most 4 KiB.
    let len = u32::try_from(name.len()).unwrap_or(0).to_be_bytes();
    let description = export.description.as_bytes();
    answers.add(rep::SERVER, &[&len, name, description]);
    answers.ack();
}

/// INFO and GO; true when the client was told.
fn tell(data: &[u8], export: &Export, agreement: Agreement, answers: &mut Answers) -> bool {
    let mut fields = Fields(data);
    let parsed = fields.string().and_then(|name| {
        let count = usize::from(fields.u16()?);
        let wanted = fields.0;
        (wanted.len() == 2 * count).then_some((name, wanted))
    });
    let Some((name, wanted)) = parsed else {
        answers.error(rep::ERR_INVALID, "the lengths in this option don't fit");
        return false;
    };
    if !is_served(name, export, answers) {
        return false;
    }
    let wants = |kind: u16| wanted.chunks_exact(2).any(|w| w == kind.to_be_bytes());
    answers.info(
        info::EXPORT,
        &[
            &export.size.to_be_bytes(),
            &export.flags(agreement.structured).to_be_bytes(),
        ],
    );
    if wants(info::NAME) {
        answers.info(info::NAME, &[export.name.as_bytes()]);
    }
    if wants(info::DESCRIPTION) && !export.description.is_empty() {
        answers.info(info::DESCRIPTION, &[export.description.as_bytes()]);
    }
    if wants(info::BLOCK_SIZE) {
        let preferred = export.geometry.block_size.clamp(512, PAYLOAD_MAX);
        answers.info(
            info::BLOCK_SIZE,
            &[
                &1u32.to_be_bytes(),
                &preferred.to_be_bytes(),
                &PAYLOAD_MAX.to_be_bytes(),
            ],
        );
    }
    answers.ack();
    true
}

fn meta_context(data: &[u8], export: &Export, agreement: &mut Agreement, answers: &mut Answers) {
    if !agreement.structured {
        answers.error(rep::ERR_INVALID, "ask for structured replies first");
        return;
    }
    let Some((name, queries)) = parse_queries(data) else {
        answers.error(rep::ERR_INVALID, "the lengths in this option don't fit");
        return;
    };
    if !is_served(name, export, answers) {
        return;
    }
    let selects = answers.option == opt::SET_META_CONTEXT;
    let found = if selects {
        queries
            .iter()
            .any(|query| *query == BASE_ALLOCATION.as_bytes())
    } else {
        let matches =
            |query: &&[u8]| [b"", &b"base:"[..], BASE_ALLOCATION.as_bytes()].contains(query);
        queries.is_empty() || queries.iter().any(matches)
    };
    if found {
        // A number that lists don't need.
        let id = if selects { BASE_ALLOCATION_ID } else { 0 };
        answers.add(
            rep::META_CONTEXT,
            &[&id.to_be_bytes(), BASE_ALLOCATION.as_bytes()],
        );
    }
    agreement.allocation |= found && selects;
    answers.ack();
}

fn parse_queries(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let mut fields = Fields(data);
    let name = fields.string()?;
    let count = fields.u32()?;
    let mut queries = Vec::new();
    for _ in 0..count {
        queries.push(fields.string()?);
    }
    fields.0.is_empty().then_some((name, queries))
}

fn is_served(name: &[u8], export: &Export, answers: &mut Answers) -> bool {
    if name.len() > STRING_MAX {
        answers.error(rep::ERR_TOO_BIG, "a name has at most 4096 bytes");
        return false;
    }
    if !export.is_meant_by(name) {
        let message = format!(
            "the only export here is {:?}, which is also the default one",
            export.name
        );
        answers.error(rep::ERR_UNKNOWN, &message);
        return false;
    }
    true
}

/// What is left of an option's data.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn u16(&mut self) -> Option<u16> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*field))
    }

    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*field))
    }

    /// Bytes behind their length.
    fn string(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }
}
