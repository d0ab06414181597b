//! Random bytes and the forms they are needed in.

/// Random bytes.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// Random bytes as lower-case hexadecimal digits, two for each byte.
pub(crate) fn hex(len: usize) -> String {
    bytes(len)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A random UUID of version 4.
pub(crate) fn uuid() -> String {
    let mut bytes = bytes(16);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ]
    .join("-")
}
