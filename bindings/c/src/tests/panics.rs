//! A panic becomes a code.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::ptr;

use crate::error::{cmk_error, cmk_error_code, cmk_error_free, cmk_error_message};
use crate::result::{CMK_OK, CMK_PANIC};

#[test]
fn a_panic_is_a_code_and_the_output_is_zero() {
    let mut out = [7_u8; 32];
    let mut len = 7_usize;
    let mut err: *mut cmk_error = ptr::null_mut();
    let code = call!(&raw mut err; out = output(out.as_mut_ptr(), out.len(), &raw mut len); => {
        out.fill(|out| -> cmkit::Result<usize> {
            out.fill(9);
            panic!("a fault");
        })
    });
    assert_eq!((code, len, out), (CMK_PANIC, 0, [0; 32]));
    // SAFETY: made by the call before, and freed once.
    unsafe {
        assert_eq!(cmk_error_code(err), CMK_PANIC);
        assert!(
            CStr::from_ptr(cmk_error_message(err))
                .to_str()
                .unwrap()
                .contains("report it")
        );
        cmk_error_free(err);
    }
}

#[test]
fn a_panic_in_an_accessor_is_the_harmless_answer() {
    let answer = value!(3; => if std::hint::black_box(true) { panic!("a fault") } else { 4 });
    assert_eq!(answer, 3);
}

#[test]
fn success_clears_the_error() {
    let mut err: *mut cmk_error = ptr::without_provenance_mut(16);
    assert_eq!(call!(&raw mut err; => Ok(())), CMK_OK);
    assert!(err.is_null());
}
