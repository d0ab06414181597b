//! Sequences of C calls, right and wrong ones, with handles of every state: no crash, nothing written outside what was given, nothing
//! left in a buffer after a failure.

#![no_main]

use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};

use cmkit_c::*;
use cmkit_fuzz::{Input, plaintext};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut world = World::default();
    let mut input = Input::new(data);
    world.builder_with_provider();
    world.build();
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        world.call(&mut input);
    }
    world.end();
});

/// Handles that are alive, by kind.
#[derive(Default)]
struct World {
    builders: Vec<*mut cmk_keyring_builder>,
    keyrings: Vec<*mut cmk_keyring>,
    contexts: Vec<*mut cmk_context>,
    encryptors: Vec<(*mut cmk_encryptor, Box<Sink>)>,
    decryptors: Vec<(*mut cmk_decryptor, Box<Source>)>,
    readers: Vec<*mut cmk_reader>,
    block_keys: Vec<*mut cmk_block_key>,
    volumes: Vec<*mut cmk_volume>,
    envelopes: Vec<Vec<u8>>,
}

/// Where an encryptor writes; fails when it is full.
struct Sink {
    bytes: Vec<u8>,
    room: usize,
}

/// What a decryptor or a reader reads, a few bytes at a time.
struct Source {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
}

unsafe extern "C" fn write(userdata: *mut c_void, data: *const u8, len: usize) -> i32 {
    let sink = unsafe { &mut *userdata.cast::<Sink>() };
    if len > sink.room {
        return 28;
    }
    sink.room -= len;
    sink.bytes
        .extend_from_slice(unsafe { std::slice::from_raw_parts(data, len) });
    0
}

unsafe extern "C" fn read(
    userdata: *mut c_void,
    out: *mut u8,
    capacity: usize,
    out_len: *mut usize,
) -> i32 {
    let source = unsafe { &mut *userdata.cast::<Source>() };
    let len = source
        .piece
        .min(capacity)
        .min(source.bytes.len() - source.at);
    unsafe {
        std::ptr::copy_nonoverlapping(source.bytes[source.at..].as_ptr(), out, len);
        *out_len = len;
    }
    source.at += len;
    0
}

unsafe extern "C" fn read_at(
    userdata: *mut c_void,
    offset: u64,
    out: *mut u8,
    capacity: usize,
    out_len: *mut usize,
) -> i32 {
    let source = unsafe { &*userdata.cast::<Source>() };
    let rest = source.bytes.get(offset as usize..).unwrap_or_default();
    let len = source.piece.min(capacity).min(rest.len());
    unsafe {
        std::ptr::copy_nonoverlapping(rest.as_ptr(), out, len);
        *out_len = len;
    }
    0
}

unsafe extern "C" fn size(userdata: *mut c_void, size: *mut u64) -> i32 {
    unsafe { *size = (*userdata.cast::<Source>()).bytes.len() as u64 };
    0
}

unsafe extern "C" fn destroy_source(userdata: *mut c_void) {
    drop(unsafe { Box::from_raw(userdata.cast::<Source>()) });
}

/// Wraps by turning every bit over and adding the sum: no protection, and quick.
unsafe extern "C" fn wrap(
    _: *mut c_void,
    key: *const c_char,
    plaintext: *const u8,
    plaintext_len: usize,
    sink: *mut cmk_sink,
) -> cmk_result {
    let key = unsafe { std::ffi::CStr::from_ptr(key) }.to_str().unwrap();
    let key = match key.split_once('/') {
        Some(_) => key.to_owned(),
        None => format!("{key}/{:032x}", 1),
    };
    let mut wrapped = unsafe { std::slice::from_raw_parts(plaintext, plaintext_len) }.to_vec();
    wrapped.push(wrapped.iter().fold(0, |sum, byte| sum ^ byte));
    wrapped.iter_mut().for_each(|byte| *byte = !*byte);
    let key = CString::new(key).unwrap();
    unsafe {
        let code = cmk_sink_put_key(sink, key.as_ptr(), CMK_WRAP_A256KW);
        if code != CMK_OK {
            code
        } else {
            cmk_sink_put(sink, wrapped.as_ptr(), wrapped.len())
        }
    }
}

unsafe extern "C" fn unwrap(
    _: *mut c_void,
    _: *const c_char,
    _: i32,
    wrapped: *const u8,
    wrapped_len: usize,
    sink: *mut cmk_sink,
) -> cmk_result {
    let wrapped = unsafe { std::slice::from_raw_parts(wrapped, wrapped_len) };
    let mut capsule: Vec<u8> = wrapped.iter().map(|byte| !byte).collect();
    if capsule.iter().fold(0, |sum, byte| sum ^ byte) != 0 {
        return CMK_ERR_AUTHENTICATION;
    }
    capsule.pop();
    unsafe { cmk_sink_put(sink, capsule.as_ptr(), capsule.len()) }
}

/// One of them, or NULL.
fn pick<T: Copy>(list: &[T], input: &mut Input<'_>) -> Option<T> {
    let which = usize::from(input.byte());
    if which == 0xFF {
        None
    } else {
        list.get(which.checked_rem(list.len())?).copied()
    }
}

/// Reads an error's every part and ends it. Its code is the one that the call gave.
fn look_at(code: cmk_result, error: *mut cmk_error) {
    unsafe {
        assert_ne!(code, CMK_PANIC);
        assert_eq!(code == CMK_OK, error.is_null());
        assert_eq!(cmk_error_code(error), code);
        let message = std::ffi::CStr::from_ptr(cmk_error_message(error));
        assert!(error.is_null() || !message.is_empty());
        assert!(!cmk_result_name(code).is_null());
        let _ = (
            cmk_error_key_id(error),
            cmk_error_retryable(error),
            cmk_error_bytes_needed(error),
        );
        cmk_error_free(error);
    }
}

/// A buffer that is watched: behind its capacity and, after a failure, all over.
struct Output {
    bytes: Vec<u8>,
    capacity: usize,
}

const BEHIND: usize = 64;

impl Output {
    fn new(capacity: usize, front: &[u8]) -> Self {
        let mut bytes = vec![0xAA; capacity.max(front.len()) + BEHIND];
        bytes[..front.len()].copy_from_slice(front);
        Self {
            capacity: bytes.len() - BEHIND,
            bytes,
        }
    }

    fn check(self, code: cmk_result, len: usize) -> Vec<u8> {
        let Self {
            mut bytes,
            capacity,
        } = self;
        assert!(
            bytes[capacity..].iter().all(|byte| *byte == 0xAA),
            "written behind the end"
        );
        if code == CMK_OK {
            assert!(len <= capacity);
            bytes.truncate(len);
            bytes
        } else {
            assert_eq!(len, 0);
            assert!(
                bytes[..capacity].iter().all(|byte| *byte == 0),
                "a failure left something"
            );
            Vec::new()
        }
    }
}

impl World {
    fn call(&mut self, input: &mut Input<'_>) {
        match input.byte() % 25 {
            0 => self.builder_with_provider(),
            1 => self.configure(input),
            2 => self.build(),
            3 => self.context(input),
            4 | 5 => self.encrypt(input),
            6 | 7 => self.decrypt(input),
            8 => self.damage(input),
            9 => self.inspect(input),
            10 => self.rewrap(input),
            11 => self.encryptor(input),
            12 | 13 => self.encryptor_write(input),
            14 => self.encryptor_end(input),
            15 => self.decryptor(input),
            16 => self.decryptor_read(input),
            17 => self.reader(input),
            18 => self.reader_read(input),
            19 => self.block_key(input),
            20 => self.blocks(input),
            21 => self.volume(input),
            22 | 23 => self.volume_call(input),
            _ => self.free_one(input),
        }
    }

    fn builder_with_provider(&mut self) {
        let (mut builder, mut error) = (null_mut(), null_mut());
        let provider = cmk_provider {
            struct_size: size_of::<cmk_provider>(),
            userdata: null_mut(),
            name: c"fuzz".as_ptr(),
            wrap: Some(wrap),
            unwrap: Some(unwrap),
            state: None,
            owns: None,
            destroy: None,
            newest: None,
            remote: 0,
        };
        unsafe {
            look_at(
                cmk_keyring_builder_new(&raw mut builder, &raw mut error),
                error,
            );
            let code =
                cmk_keyring_builder_add_provider(builder, &raw const provider, &raw mut error);
            look_at(code, error);
            let code = cmk_keyring_builder_wrap_with(builder, c"fuzz:a".as_ptr(), &raw mut error);
            look_at(code, error);
        }
        self.builders.push(builder);
    }

    fn configure(&mut self, input: &mut Input<'_>) {
        let builder = pick(&self.builders, input).unwrap_or(null_mut());
        let what = input.byte();
        let len = usize::from(input.byte() % 40);
        let text = CString::new(
            input
                .bytes(len)
                .iter()
                .map(|b| b % 127 + 1)
                .collect::<Vec<u8>>(),
        )
        .unwrap();
        let key = CString::new(format!("fuzz:{}", what >> 4)).unwrap();
        let number = 1 << (input.byte() % 64);
        let mut error = null_mut();
        let err = &raw mut error;
        let code = unsafe {
            match what % 8 {
                0 => cmk_keyring_builder_wrap_with(builder, key.as_ptr(), err),
                1 => cmk_keyring_builder_wrap_with(builder, text.as_ptr(), err),
                2 => cmk_keyring_builder_allow_key(builder, key.as_ptr(), err),
                3 => cmk_keyring_builder_allow_host(builder, text.as_ptr(), err),
                4 => cmk_keyring_builder_workspace(builder, text.as_ptr(), err),
                5 => cmk_keyring_builder_max_messages(builder, number, err),
                6 => cmk_keyring_builder_max_age_ms(builder, number, err),
                _ => cmk_keyring_builder_wrap_with(builder, null(), err),
            }
        };
        look_at(code, error);
    }

    fn build(&mut self) {
        let builder = self.builders.last().copied().unwrap_or(null_mut());
        let (mut keyring, mut error) = (null_mut(), null_mut());
        let code = unsafe { cmk_keyring_builder_build(builder, &raw mut keyring, &raw mut error) };
        look_at(code, error);
        assert_eq!(code == CMK_OK, !keyring.is_null());
        if !keyring.is_null() {
            self.keyrings.push(keyring);
        }
    }

    fn context(&mut self, input: &mut Input<'_>) {
        let lens = [0; 4].map(|_: u8| usize::from(input.byte() % 9));
        let texts = lens.map(|len| input.bytes(len));
        let pointer = |text: &[u8]| {
            if text.is_empty() {
                null()
            } else {
                text.as_ptr().cast()
            }
        };
        let pairs = [(texts[0], texts[1]), (texts[2], texts[3])].map(|(key, value)| cmk_pair {
            key: pointer(key),
            key_len: key.len(),
            value: pointer(value),
            value_len: value.len(),
        });
        let (mut context, mut error) = (null_mut(), null_mut());
        let len = usize::from(input.byte() % 3);
        let code =
            unsafe { cmk_context_new(pairs.as_ptr(), len, &raw mut context, &raw mut error) };
        look_at(code, error);
        if code == CMK_OK {
            self.contexts.push(context);
        }
    }

    fn keyring_and_context(
        &self,
        input: &mut Input<'_>,
    ) -> (*const cmk_keyring, *const cmk_context) {
        let keyring = pick(&self.keyrings, input).map_or(null(), <*mut _>::cast_const);
        (
            keyring,
            pick(&self.contexts, input).map_or(null(), <*mut _>::cast_const),
        )
    }

    fn encrypt(&mut self, input: &mut Input<'_>) {
        let (keyring, context) = self.keyring_and_context(input);
        let text = plaintext(input.len());
        let (mut len, mut error) = (0, null_mut());
        let code =
            unsafe { cmk_keyring_encrypted_len(keyring, text.len(), &raw mut len, &raw mut error) };
        look_at(code, error);
        let how = input.byte();
        let capacity = if how & 1 == 1 { len } else { input.len() };
        let front: &[u8] = if how & 2 == 2 { &text } else { &[] };
        let mut out = Output::new(capacity, front);
        let from = if how & 2 == 2 {
            out.bytes.as_ptr()
        } else {
            text.as_ptr()
        };
        let (mut out_len, mut error) = (7, null_mut());
        let to = out.bytes.as_mut_ptr();
        let code = unsafe {
            cmk_keyring_encrypt(
                keyring,
                from,
                text.len(),
                context,
                to,
                out.capacity,
                &raw mut out_len,
                &raw mut error,
            )
        };
        look_at(code, error);
        let envelope = out.check(code, out_len);
        if code == CMK_OK {
            self.envelopes.push(envelope);
        }
    }

    fn envelope(&self, input: &mut Input<'_>) -> Vec<u8> {
        let which = usize::from(input.byte());
        let kept = which
            .checked_rem(self.envelopes.len())
            .map(|which| self.envelopes[which].clone());
        kept.unwrap_or_default()
    }

    fn decrypt(&mut self, input: &mut Input<'_>) {
        let (keyring, context) = self.keyring_and_context(input);
        let envelope = self.envelope(input);
        let (mut len, mut error) = (0, null_mut());
        let code = unsafe {
            cmk_decrypted_len(
                envelope.as_ptr(),
                envelope.len(),
                &raw mut len,
                &raw mut error,
            )
        };
        look_at(code, error);
        let how = input.byte();
        let capacity = if how & 1 == 1 { len } else { input.len() };
        let front: &[u8] = if how & 2 == 2 { &envelope } else { &[] };
        let mut out = Output::new(capacity, front);
        let from = if how & 2 == 2 {
            out.bytes.as_ptr()
        } else {
            envelope.as_ptr()
        };
        let (mut out_len, mut error) = (7, null_mut());
        let to = out.bytes.as_mut_ptr();
        let code = unsafe {
            cmk_keyring_decrypt(
                keyring,
                from,
                envelope.len(),
                context,
                to,
                out.capacity,
                &raw mut out_len,
                &raw mut error,
            )
        };
        look_at(code, error);
        let text = out.check(code, out_len);
        assert!(text == plaintext(text.len()), "something else came out");
    }

    fn damage(&mut self, input: &mut Input<'_>) {
        let mut envelope = self.envelope(input);
        let at = input.below(envelope.len());
        match input.byte() % 3 {
            0 => envelope.truncate(at),
            1 => envelope.extend_from_slice(input.bytes(at)),
            _ => envelope
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 1),
        }
        self.envelopes.push(envelope);
    }

    fn inspect(&mut self, input: &mut Input<'_>) {
        let envelope = self.envelope(input);
        let (mut inspection, mut error) = (null_mut(), null_mut());
        let (data, len) = (envelope.as_ptr(), envelope.len());
        unsafe {
            let code = cmk_inspection_new(data, len, &raw mut inspection, &raw mut error);
            look_at(code, error);
            assert!(code != CMK_OK || cmk_is_envelope(data, len));
            // NULL is an inspection of nothing.
            assert!(cmk_inspection_header_len(inspection) <= len);
            for place in 0..=cmk_inspection_recipients_len(inspection) {
                let id = cmk_inspection_recipient_key_id(inspection, place);
                assert_eq!(
                    id.is_null(),
                    place == cmk_inspection_recipients_len(inspection)
                );
            }
            cmk_inspection_free(inspection);
        }
    }

    fn rewrap(&mut self, input: &mut Input<'_>) {
        let (keyring, _) = self.keyring_and_context(input);
        let envelope = self.envelope(input);
        let to = CString::new(format!("fuzz:{}", input.byte() % 4)).unwrap();
        let (mut buffer, mut error) = (null_mut(), null_mut());
        unsafe {
            let code = cmk_keyring_rewrap(
                keyring,
                envelope.as_ptr(),
                envelope.len(),
                to.as_ptr(),
                u32::from(input.byte() % 3),
                &raw mut buffer,
                &raw mut error,
            );
            look_at(code, error);
            if code == CMK_OK {
                let (data, len) = (cmk_buffer_data(buffer), cmk_buffer_len(buffer));
                self.envelopes
                    .push(std::slice::from_raw_parts(data, len).to_vec());
            }
            cmk_buffer_free(buffer);
        }
    }

    fn encryptor(&mut self, input: &mut Input<'_>) {
        let (keyring, context) = self.keyring_and_context(input);
        let mut sink = Box::new(Sink {
            bytes: Vec::new(),
            room: 1 << (input.byte() % 24),
        });
        let options = cmk_stream_options {
            struct_size: size_of::<cmk_stream_options>(),
            threads: u32::from(input.byte() % 3),
            header_padding: u32::from(input.byte() % 3),
        };
        let (mut encryptor, mut error) = (null_mut(), null_mut());
        let userdata = (&raw mut *sink).cast();
        let code = unsafe {
            cmk_encryptor_new(
                keyring,
                context,
                Some(write),
                userdata,
                &raw const options,
                &raw mut encryptor,
                &raw mut error,
            )
        };
        look_at(code, error);
        if code == CMK_OK {
            self.encryptors.push((encryptor, sink));
        }
    }

    fn encryptor_write(&mut self, input: &mut Input<'_>) {
        // All writes continue the one plaintext, so that what comes out can be told.
        let Some((encryptor, _)) = self.encryptors.last() else {
            return;
        };
        let text = vec![0; input.len()];
        let mut error = null_mut();
        let code =
            unsafe { cmk_encryptor_write(*encryptor, text.as_ptr(), text.len(), &raw mut error) };
        look_at(code, error);
    }

    fn encryptor_end(&mut self, input: &mut Input<'_>) {
        let Some((encryptor, sink)) = self.encryptors.pop() else {
            return;
        };
        let mut error = null_mut();
        unsafe {
            if input.byte() & 1 == 0 {
                look_at(cmk_encryptor_finish(encryptor, &raw mut error), error);
                // Once is enough.
                let again = cmk_encryptor_finish(encryptor, &raw mut error);
                assert_ne!(again, CMK_OK);
                look_at(again, error);
            }
            cmk_encryptor_free(encryptor);
        }
        // What streams wrote is read by streams: its plaintext is zeros.
        drop(sink);
    }

    fn source(&self, input: &mut Input<'_>) -> Box<Source> {
        Box::new(Source {
            bytes: self.envelope(input),
            at: 0,
            piece: input.len().max(1),
        })
    }

    fn decryptor(&mut self, input: &mut Input<'_>) {
        let (keyring, context) = self.keyring_and_context(input);
        let mut source = self.source(input);
        let (mut decryptor, mut error) = (null_mut(), null_mut());
        let userdata = (&raw mut *source).cast();
        let code = unsafe {
            cmk_decryptor_new(
                keyring,
                context,
                Some(read),
                userdata,
                null(),
                &raw mut decryptor,
                &raw mut error,
            )
        };
        look_at(code, error);
        if code == CMK_OK {
            self.decryptors.push((decryptor, source));
        }
    }

    fn decryptor_read(&mut self, input: &mut Input<'_>) {
        let Some((decryptor, _)) = self.decryptors.last() else {
            return;
        };
        let mut out = Output::new(input.len(), &[]);
        let (mut len, mut error) = (7, null_mut());
        let to = out.bytes.as_mut_ptr();
        let code = unsafe {
            cmk_decryptor_read(*decryptor, to, out.capacity, &raw mut len, &raw mut error)
        };
        look_at(code, error);
        out.check(code, len);
    }

    fn reader(&mut self, input: &mut Input<'_>) {
        let (keyring, context) = self.keyring_and_context(input);
        let userdata = Box::into_raw(self.source(input));
        let source = cmk_source {
            struct_size: size_of::<cmk_source>(),
            userdata: userdata.cast(),
            read_at: Some(read_at),
            size: Some(size),
            destroy: Some(destroy_source),
        };
        let (mut reader, mut error) = (null_mut(), null_mut());
        unsafe {
            let code = cmk_reader_new(
                keyring,
                context,
                &raw const source,
                &raw mut reader,
                &raw mut error,
            );
            look_at(code, error);
            if code == CMK_OK {
                self.readers.push(reader);
            } else {
                // It stays ours.
                destroy_source(userdata.cast());
            }
        }
    }

    fn reader_read(&mut self, input: &mut Input<'_>) {
        let reader = pick(&self.readers, input).map_or(null(), <*mut _>::cast_const);
        let mut out = Output::new(input.len(), &[]);
        let (offset, mut len, mut error) = (input.len(), 7, null_mut());
        let to = out.bytes.as_mut_ptr();
        let code = unsafe {
            cmk_reader_read_at(
                reader,
                offset as u64,
                to,
                out.capacity,
                &raw mut len,
                &raw mut error,
            )
        };
        look_at(code, error);
        let text = out.check(code, len);
        if code == CMK_OK {
            assert!(
                text == plaintext(offset + text.len())[offset..],
                "something else came out"
            );
            let end = offset as u64 + text.len() as u64;
            assert!(text.is_empty() || end <= unsafe { cmk_reader_len(reader) });
        }
    }

    fn block_key(&mut self, input: &mut Input<'_>) {
        let keyring = pick(&self.keyrings, input).map_or(null(), <*mut _>::cast_const);
        let size = 1 << (input.byte() % 20);
        let (mut key, mut error) = (null_mut(), null_mut());
        let code = unsafe {
            if input.byte() % 2 == 0 {
                cmk_block_key_random(size, &raw mut key, &raw mut error)
            } else {
                cmk_keyring_new_block_key(keyring, size, &raw mut key, &raw mut error)
            }
        };
        look_at(code, error);
        if code == CMK_OK {
            assert_eq!(unsafe { cmk_block_key_block_size(key) }, size);
            self.block_keys.push(key);
        }
    }

    /// What goes in comes out, unless a byte was changed.
    fn blocks(&mut self, input: &mut Input<'_>) {
        let key = pick(&self.block_keys, input).map_or(null(), <*mut _>::cast_const);
        let block = u64::from(input.byte()) << (input.byte() % 56);
        let text =
            plaintext(usize::from(input.byte() % 3) * 4096 + usize::from(input.byte() / 255));
        let (mut data, mut seals) = (text.clone(), vec![0; text.len() / 4096 * 22]);
        let mut error = null_mut();
        let change = input.byte();
        unsafe {
            let code = cmk_block_key_encrypt(
                key,
                block,
                data.as_mut_ptr(),
                data.len(),
                seals.as_mut_ptr(),
                seals.len(),
                &raw mut error,
            );
            look_at(code, error);
            if code != CMK_OK {
                assert!(data.iter().chain(&seals).all(|byte| *byte == 0));
                return;
            }
            let is_changed = change > 127 && !data.is_empty();
            if is_changed {
                data[usize::from(change)] ^= change;
            }
            let code = cmk_block_key_decrypt(
                key,
                block,
                data.as_mut_ptr(),
                data.len(),
                seals.as_ptr(),
                seals.len(),
                &raw mut error,
            );
            look_at(code, error);
            if is_changed {
                assert_eq!(code, CMK_ERR_AUTHENTICATION);
                assert!(data.iter().all(|byte| *byte == 0));
            } else {
                assert_eq!((code, data), (CMK_OK, text));
            }
        }
    }

    fn volume(&mut self, input: &mut Input<'_>) {
        let keyring = pick(&self.keyrings, input).map_or(null(), <*mut _>::cast_const);
        let options = cmk_volume_options {
            struct_size: size_of::<cmk_volume_options>() - usize::from(input.byte() / 255),
            mode: u32::from(input.byte() % 3),
            block_size: 1 << (input.byte() % 20),
            keyring,
            metadata_budget: u64::from(input.byte()) << 4,
        };
        let (mut backing, mut volume, mut error) = (null_mut(), null_mut(), null_mut());
        let len = u64::from(input.byte()) * 2048;
        unsafe {
            let code = cmk_backing_memory(len, &raw mut backing, &raw mut error);
            look_at(code, error);
            let code =
                cmk_volume_create(backing, &raw const options, &raw mut volume, &raw mut error);
            look_at(code, error);
            cmk_backing_free(backing);
            if code == CMK_OK {
                assert_eq!(cmk_volume_len(volume), len);
                self.volumes.push(volume);
            }
        }
    }

    fn volume_call(&mut self, input: &mut Input<'_>) {
        let volume = pick(&self.volumes, input).map_or(null(), <*mut _>::cast_const);
        let what = input.byte();
        let (offset, len) = (input.len() as u64 * 16, input.len());
        let mut error = null_mut();
        let text = plaintext(len);
        let code = unsafe {
            match what % 8 {
                0 | 1 => {
                    let flags = u32::from(what >> 6);
                    cmk_volume_write(volume, offset, text.as_ptr(), len, flags, &raw mut error)
                }
                2 | 3 => {
                    let mut out = Output::new(len, &[]);
                    let to = out.bytes.as_mut_ptr();
                    let code = cmk_volume_read(volume, offset, to, len, &raw mut error);
                    out.check(code, if code == CMK_OK { len } else { 0 });
                    code
                }
                4 => cmk_volume_write_zeroes(
                    volume,
                    offset,
                    len as u64,
                    u32::from(what >> 5),
                    &raw mut error,
                ),
                5 => cmk_volume_discard(volume, offset, len as u64, &raw mut error),
                6 => cmk_volume_reset(volume, null_mut(), &raw mut error),
                _ => {
                    cmk_volume_destroy(volume);
                    return;
                }
            }
        };
        look_at(code, error);
    }

    /// Handles end in any order: what was opened with a keyring goes on.
    fn free_one(&mut self, input: &mut Input<'_>) {
        unsafe {
            match input.byte() % 8 {
                6 => cmk_block_key_free(self.block_keys.pop().unwrap_or(null_mut())),
                7 => cmk_volume_free(self.volumes.pop().unwrap_or(null_mut())),
                0 if self.keyrings.len() > 1 => cmk_keyring_free(self.keyrings.remove(0)),
                1 if self.builders.len() > 1 => cmk_keyring_builder_free(self.builders.remove(0)),
                2 => cmk_context_free(self.contexts.pop().unwrap_or(null_mut())),
                3 => cmk_reader_free(self.readers.pop().unwrap_or(null_mut())),
                4 => {
                    if let Some((decryptor, _source)) = self.decryptors.pop() {
                        cmk_decryptor_free(decryptor);
                    }
                }
                _ => cmk_keyring_free(null_mut()),
            }
        }
    }

    fn end(self) {
        unsafe {
            self.keyrings
                .iter()
                .for_each(|keyring| cmk_keyring_free(*keyring));
            self.builders
                .iter()
                .for_each(|builder| cmk_keyring_builder_free(*builder));
            self.contexts
                .iter()
                .for_each(|context| cmk_context_free(*context));
            self.readers
                .iter()
                .for_each(|reader| cmk_reader_free(*reader));
            self.block_keys
                .iter()
                .for_each(|key| cmk_block_key_free(*key));
            self.volumes
                .iter()
                .for_each(|volume| cmk_volume_free(*volume));
            self.encryptors
                .iter()
                .for_each(|(encryptor, _)| cmk_encryptor_free(*encryptor));
            self.decryptors
                .iter()
                .for_each(|(decryptor, _)| cmk_decryptor_free(*decryptor));
        }
    }
}
