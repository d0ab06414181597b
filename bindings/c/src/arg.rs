//! From what C passes to what Rust takes. Each conversion refuses what is NULL or misaligned; that a pointer points to what it
//! should is the caller's promise.
//!
//! The first argument is the name in the header, for the message.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::call::{Fault, Outcome, invalid, wrong_state};
pub(crate) use crate::structure::{
    optional_out_structure, optional_structure, out_structure, structure,
};

/// Whether `p` can be dereferenced, as far as one can see.
pub(crate) fn check<T>(name: &str, p: *const T) -> Outcome {
    if p.is_null() {
        return Err(invalid(format!("{name} is NULL")));
    }
    if !p.is_aligned() {
        return Err(invalid(format!("{name} is not aligned")));
    }
    Ok(())
}

/// An object that is only read.
///
/// # Safety
/// `p` is NULL or points to a `T` that lives, and isn't changed, during the call.
pub(crate) unsafe fn shared<'a, T>(name: &str, p: *const T) -> Outcome<&'a T> {
    check(name, p)?;
    // SAFETY: as above.
    Ok(unsafe { &*p })
}

/// An object that may be missing.
///
/// # Safety
/// As for [`shared`].
pub(crate) unsafe fn optional<'a, T>(name: &str, p: *const T) -> Outcome<Option<&'a T>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    unsafe { shared(name, p) }.map(Some)
}

/// Bytes that are only read.
///
/// # Safety
/// `p` points to `len` bytes that nobody changes during the call, or `len` is 0.
pub(crate) unsafe fn bytes<'a>(name: &str, p: *const u8, len: usize) -> Outcome<&'a [u8]> {
    // SAFETY: as above.
    unsafe { array(name, p, len) }
}

/// Structures that are only read.
///
/// # Safety
/// As for [`bytes`], with `len` counting structures.
pub(crate) unsafe fn array<'a, T>(name: &str, p: *const T, len: usize) -> Outcome<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check(name, p)?;
    check_len::<T>(name, len)?;
    // SAFETY: as above; the length was looked at.
    Ok(unsafe { std::slice::from_raw_parts(p, len) })
}

/// No object is larger than half the address space; such a length is a negative number in disguise.
fn check_len<T>(name: &str, len: usize) -> Outcome {
    match len.checked_mul(size_of::<T>()) {
        Some(size) if isize::try_from(size).is_ok() => Ok(()),
        _ => Err(invalid(format!(
            "the length of {name} is {len}, which no buffer has"
        ))),
    }
}

/// Text.
///
/// # Safety
/// `p` is NULL or points to a string that ends with a NUL and isn't changed during the call.
pub(crate) unsafe fn text<'a>(name: &str, p: *const c_char) -> Outcome<&'a str> {
    check(name, p)?;
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(p) };
    text.to_str()
        .map_err(|_| invalid(format!("{name} is not UTF-8")))
}

/// Text that may be missing.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional_text<'a>(name: &str, p: *const c_char) -> Outcome<Option<&'a str>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    unsafe { text(name, p) }.map(Some)
}

/// A file's name, in any encoding.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn path<'a>(name: &str, p: *const c_char) -> Outcome<&'a Path> {
    check(name, p)?;
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(p) };
    if text.is_empty() {
        return Err(invalid(format!("{name} is empty")));
    }
    Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
}

/// A file's name that may be missing.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional_path<'a>(name: &str, p: *const c_char) -> Outcome<Option<&'a Path>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    unsafe { path(name, p) }.map(Some)
}

/// A place for a result, which gets `initial` at once.
///
/// # Safety
/// `p` is NULL or valid for writing a `T`, and nothing else reads or writes it during the call.
pub(crate) unsafe fn out<'a, T>(name: &str, p: *mut T, initial: T) -> Outcome<&'a mut T> {
    check(name, p)?;
    // SAFETY: as above.
    unsafe {
        p.write(initial);
        Ok(&mut *p)
    }
}

/// A place for a result that the caller may not want.
///
/// # Safety
/// As for [`out`].
pub(crate) unsafe fn optional_out<'a, T>(
    name: &str,
    p: *mut T,
    initial: T,
) -> Outcome<Option<&'a mut T>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    unsafe { out(name, p, initial) }.map(Some)
}

/// A place for a handle.
///
/// # Safety
/// As for [`out`].
pub(crate) unsafe fn handle<'a, T>(name: &str, p: *mut *mut T) -> Outcome<&'a mut *mut T> {
    // SAFETY: as above.
    unsafe { out(name, p, std::ptr::null_mut()) }
}

/// A range of the caller's memory for output, and where its length goes.
///
/// # Safety
/// `p` points to `capacity` bytes that nobody else reads or writes during the call, or `capacity` is 0. `out_len` as for [`out`].
pub(crate) unsafe fn output<'a>(
    name: &str,
    p: *mut u8,
    capacity: usize,
    out_len: *mut usize,
) -> Outcome<Output<'a>> {
    // SAFETY: as above.
    let len = unsafe { out("out_len", out_len, 0) };
    if capacity > 0 {
        check(name, p)?;
        check_len::<u8>(name, capacity)?;
    }
    // Before the question mark, so that the range becomes zero without a place for its length too.
    let mut output = Output {
        p,
        capacity,
        len: None,
        done: false,
    };
    output.len = Some(len?);
    Ok(output)
}

/// A range of the caller's memory that is filled whole, or worked on in place.
///
/// # Safety
/// `p` points to `len` bytes that nobody else reads or writes during the call, or `len` is 0.
pub(crate) unsafe fn range<'a>(name: &str, p: *mut u8, len: usize) -> Outcome<Output<'a>> {
    if len > 0 {
        check(name, p)?;
        check_len::<u8>(name, len)?;
    }
    Ok(Output {
        p,
        capacity: len,
        len: None,
        done: false,
    })
}

/// What a handle points to, when it is to be freed.
pub(crate) trait Handle {
    /// Whether a call is using it; freed then, it is left alone rather than pulled from under that call.
    fn in_use(&self) -> bool {
        false
    }
}

/// Ends a handle.
///
/// # Safety
/// `p` is NULL, or came from a `Box` here, wasn't freed before and isn't used any more.
pub(crate) unsafe fn end<T: Handle>(p: *mut T) {
    if p.is_null() || !p.is_aligned() {
        return;
    }
    // SAFETY: as above.
    if !unsafe { &*p }.in_use() {
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(p) });
    }
}

/// A range of the caller's memory: zero when dropped, unless it was [filled](Self::fill).
pub(crate) struct Output<'a> {
    p: *mut u8,
    capacity: usize,
    len: Option<&'a mut usize>,
    done: bool,
}

/// How an input lies to an output.
#[derive(PartialEq, Eq)]
pub(crate) enum Place {
    Apart,
    /// Both begin at the same byte.
    Same,
}

impl Output<'_> {
    /// How `input` lies to this range. One that overlaps it otherwise is refused.
    pub(crate) fn place_of(&self, input: &[u8]) -> Outcome<Place> {
        self.place_of_range(input.as_ptr().addr(), input.len())
    }

    fn place_of_range(&self, theirs: usize, len: usize) -> Outcome<Place> {
        let ours = self.p.addr();
        if self.capacity == 0 || len == 0 || ours >= theirs + len || theirs >= ours + self.capacity
        {
            Ok(Place::Apart)
        } else if ours == theirs {
            Ok(Place::Same)
        } else {
            Err(invalid(
                "input and output overlap; they must be apart, or in place where the function says so",
            ))
        }
    }

    /// Refuses an input that shares a byte with this range.
    pub(crate) fn must_be_apart_from(&self, input: &[u8]) -> Outcome {
        match self.place_of(input)? {
            Place::Apart => Ok(()),
            Place::Same => Err(invalid(
                "input and output are the same; this function doesn't work in place",
            )),
        }
    }

    /// Refuses another range that shares a byte with this one.
    pub(crate) fn must_be_apart_from_range(&self, other: &Output<'_>) -> Outcome {
        match self.place_of_range(other.p.addr(), other.capacity)? {
            Place::Apart => Ok(()),
            Place::Same => Err(invalid("two ranges are the same; they must be apart")),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Lets `write` fill the range; it says how many bytes are the result. No reference to an input that overlaps may be used
    /// from here on.
    pub(crate) fn fill<E: Into<Fault>>(
        mut self,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Outcome {
        let range: &mut [u8] = if self.capacity == 0 {
            &mut []
        } else {
            // SAFETY: the caller of the export gives this memory for the call, and inputs are not used any more.
            unsafe { std::slice::from_raw_parts_mut(self.p, self.capacity) }
        };
        let written = write(range).map_err(Into::into)?;
        if let Some(len) = self.len.as_deref_mut() {
            *len = written;
        }
        self.done = true;
        Ok(())
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if !self.done && self.capacity > 0 {
            // SAFETY: the caller of the export gives this memory for the call.
            unsafe { self.p.write_bytes(0, self.capacity) };
        }
    }
}

/// Bytes that hold any key id and the NUL behind it.
pub(crate) const ID_CAPACITY: usize = 513;

/// A place for a key id, which the caller may not want.
///
/// # Safety
/// `p` is NULL, or points to `capacity` bytes that nobody else reads or writes during the call.
pub(crate) unsafe fn id_output<'a>(
    name: &str,
    p: *mut c_char,
    capacity: usize,
) -> Outcome<IdOutput<'a>> {
    if p.is_null() {
        return Ok(IdOutput(None));
    }
    if capacity > 0 {
        check_len::<u8>(name, capacity)?;
        // SAFETY: as above.
        unsafe { p.write_bytes(0, capacity) };
    }
    if capacity < ID_CAPACITY {
        return Err(Fault::Error(cmkit::Error::BufferTooSmall {
            needed: ID_CAPACITY as u64,
            given: capacity as u64,
        }));
    }
    // SAFETY: as above; it was just written.
    Ok(IdOutput(Some(unsafe {
        std::slice::from_raw_parts_mut(p.cast(), capacity)
    })))
}

/// Where a key id goes; an empty string until then.
pub(crate) struct IdOutput<'a>(Option<&'a mut [u8]>);

impl IdOutput<'_> {
    pub(crate) fn set(self, id: &cmkit::KeyId) {
        if let Some(place) = self.0 {
            let id = id.as_str().as_bytes();
            place[..id.len()].copy_from_slice(id);
        }
    }
}

/// What belongs to one thread at a time. Whoever comes while it is in use, from another thread or out of a callback, is
/// refused.
pub(crate) struct OneAtATime<T>(Mutex<T>);

impl<T> OneAtATime<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn enter(&self) -> Outcome<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(_)) => {
                Err(wrong_state("it failed before: free it and make a new one"))
            }
            Err(TryLockError::WouldBlock) => Err(wrong_state(
                "it is in use by another call; it belongs to one thread at a time",
            )),
        }
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_use(&self) -> bool {
        matches!(self.0.try_lock(), Err(TryLockError::WouldBlock))
    }
}
