//! What Key Vault and identity endpoints answer: keys, errors, challenges, tokens, dates. The first byte chooses the parser.

#![no_main]

use cmkit_azure::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else {
        return;
    };
    match which % 5 {
        0 => fuzz::key(body),
        1 => fuzz::error(body),
        2 => {
            if let Ok(text) = std::str::from_utf8(body) {
                fuzz::challenge(text);
            }
        }
        3 => fuzz::token(body),
        _ => {
            if let Ok(text) = std::str::from_utf8(body) {
                fuzz::dates(text);
            }
        }
    }
});
