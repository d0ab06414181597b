//! Structures that C hands over: their first member says how long they are, so that members can be added later.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::arg::check;
use crate::call::{Fault, Outcome, invalid};

/// A structure of the header.
///
/// # Safety
/// `repr(C)`, its first member is `struct_size: usize`, and all zeros is a value of it.
pub(crate) unsafe trait Structure: Copy {
    /// What the first release of it had: shorter ones are mistakes.
    const MIN_SIZE: usize;
}

/// Longer than any structure will ever be: what claims to be is garbage.
const MAX_SIZE: usize = 4096;

/// Copies a structure. Members that an older caller doesn't have are zero; ones that only a newer caller has must be.
///
/// # Safety
/// `p` is NULL or points to a structure of as many bytes as its first member says, which nobody changes during the call.
pub(crate) unsafe fn structure<T: Structure>(name: &str, p: *const T) -> Outcome<T> {
    check(name, p)?;
    // SAFETY: as above.
    let size = unsafe { size_of_structure(name, p) }?;
    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts(p.cast::<u8>(), size) };
    if bytes
        .get(size_of::<T>()..)
        .is_some_and(|rest| rest.iter().any(|byte| *byte != 0))
    {
        return Err(Fault::Unsupported(format!(
            "{name} asks for something that this version of cmkit doesn't know"
        )));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both are valid for as many bytes, and apart; all zeros was a value before, and the bytes come from one.
    Ok(unsafe {
        std::ptr::copy_nonoverlapping(
            bytes.as_ptr(),
            value.as_mut_ptr().cast(),
            size.min(size_of::<T>()),
        );
        value.assume_init()
    })
}

/// # Safety
/// `p` points to a structure, or at least to its first member.
unsafe fn size_of_structure<T: Structure>(name: &str, p: *const T) -> Outcome<usize> {
    // SAFETY: as above; the first member is a `usize`.
    let size = unsafe { p.cast::<usize>().read() };
    if !(T::MIN_SIZE..=MAX_SIZE).contains(&size) {
        return Err(invalid(format!(
            "the struct_size of {name} is {size}; set it to the size of the structure, {}",
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// A structure that is filled: zero behind its size at once.
///
/// # Safety
/// `p` is NULL or points to a structure of as many bytes as its first member says, which nobody else reads or changes during the call.
pub(crate) unsafe fn out_structure<T: Structure>(name: &str, p: *mut T) -> Outcome<Place<T>> {
    check(name, p)?;
    // SAFETY: as above.
    unsafe {
        let size = size_of_structure(name, p)?;
        let rest = p.cast::<u8>().add(size_of::<usize>());
        rest.write_bytes(0, size - size_of::<usize>());
        Ok(Place { p, size })
    }
}

/// The same where the caller may not want it.
///
/// # Safety
/// As for [`out_structure`].
pub(crate) unsafe fn optional_out_structure<T: Structure>(
    name: &str,
    p: *mut T,
) -> Outcome<Option<Place<T>>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    unsafe { out_structure(name, p) }.map(Some)
}

/// Where a structure goes.
pub(crate) struct Place<T> {
    p: *mut T,
    size: usize,
}

impl<T: Structure> Place<T> {
    /// Fills in as many members as the caller knows; the size stays the caller's.
    pub(crate) fn set(self, value: &T) {
        let first = size_of::<usize>();
        let len = self.size.min(size_of::<T>()) - first;
        // SAFETY: the caller of the export gives this memory for the call; both are valid for as many bytes, and apart.
        unsafe {
            let from = std::ptr::from_ref(value).cast::<u8>().add(first);
            std::ptr::copy_nonoverlapping(from, self.p.cast::<u8>().add(first), len);
        }
    }
}

/// The same where NULL means that all is left as it is.
///
/// # Safety
/// As for [`structure`].
pub(crate) unsafe fn optional_structure<T: Structure>(
    name: &str,
    p: *const T,
) -> Outcome<Option<T>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    unsafe { structure(name, p) }.map(Some)
}
