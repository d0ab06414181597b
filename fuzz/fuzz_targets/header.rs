//! What is said about arbitrary bytes without a key is consistent, and a header that parses has only one encoding.

#![no_main]

use cmkit::{Inspection, WrapAlgorithm, decrypted_len, header_len, inspect, is_envelope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let len = header_len(data);
    let inspected = inspect(data);
    if let Ok(body) = decrypted_len(data) {
        assert!(data.len() as u64 >= len.clone().unwrap() as u64 + 72 + body);
    }
    let Ok(header) = inspected else { return };
    assert!(is_envelope(data));
    assert_eq!(len.unwrap(), header.header_len);
    assert!(header.header_len <= 65_536 && header.recipients.len() <= 16);
    let bytes = &data[..header.header_len];
    assert_eq!(inspect(bytes).unwrap(), header);
    for shorter in [0, 15, 16, bytes.len() / 2, bytes.len() - 1] {
        assert!(inspect(&bytes[..shorter]).is_err());
    }
    let again = encode(&header, bytes);
    assert_eq!(again, bytes[..bytes.len() - 32]);
});

/// All but the MAC, from what was said about it; the wraps themselves are taken from the header.
fn encode(header: &Inspection, bytes: &[u8]) -> Vec<u8> {
    let mut core = Vec::new();
    head(&mut core, 5, 3 + u64::from(header.workspace.is_some()));
    head(&mut core, 0, 1);
    string(&mut core, 2, &header.dek_id.0);
    head(&mut core, 0, 2);
    head(
        &mut core,
        0,
        match header.purpose.name() {
            "data" => 1,
            "volume" => 2,
            _ => 3,
        },
    );
    if let Some(workspace) = &header.workspace {
        head(&mut core, 0, 3);
        string(&mut core, 3, workspace.as_bytes());
    }
    head(&mut core, 0, 4);
    head(&mut core, 0, header.created);

    let mut recipients = Vec::new();
    head(&mut recipients, 4, header.recipients.len() as u64);
    for recipient in &header.recipients {
        head(&mut recipients, 5, 5);
        head(&mut recipients, 0, 1);
        string(&mut recipients, 3, recipient.provider.as_bytes());
        head(&mut recipients, 0, 2);
        string(&mut recipients, 3, recipient.key_id.as_str().as_bytes());
        head(&mut recipients, 0, 3);
        head(
            &mut recipients,
            1,
            match recipient.algorithm {
                WrapAlgorithm::A256Kw => 4,
                _ => 40,
            },
        );
        head(&mut recipients, 0, 4);
        head(&mut recipients, 2, recipient.wrapped_len as u64);
        let at = 16 + core.len() + recipients.len();
        recipients.extend_from_slice(&bytes[at..at + recipient.wrapped_len]);
        head(&mut recipients, 0, 5);
        head(&mut recipients, 0, recipient.wrapped_at);
    }
    // A padding of no bytes and no padding at all look alike from outside.
    let bare = 16 + core.len() + recipients.len() + 32;
    if bytes.len() > bare {
        string(&mut recipients, 2, &vec![0; header.padding_len]);
    }
    let mut out = b"\x89CMK\r\n\x1a\n\x01\0\0\x01".to_vec();
    for part in [&core, &recipients] {
        out.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
    }
    [out, core, recipients].concat()
}

fn string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    head(out, major, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let be = argument.to_be_bytes();
    let (info, len) = match argument {
        0..=23 => (be[7], 0),
        24..=0xFF => (24, 1),
        0x100..=0xFFFF => (25, 2),
        0x1_0000..=0xFFFF_FFFF => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | info);
    out.extend_from_slice(&be[8 - len..]);
}
