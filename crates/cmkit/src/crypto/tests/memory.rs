//! Looks for secrets in this process's own memory, without unsafe code: through `/proc/self/mem`.
//!
//! A [`Needle`] holds a secret under a mask, and the mask comes off byte by byte while comparing, so that the
//! search does not find itself. [`found_after`] runs the code under test on a thread of its own and searches from another one
//! while the first still stands where that code returned: its stack is as the code left it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use zeroize::Zeroizing;

const MASK: u8 = 0xA5;

/// One search at a time: its buffer has copies of what lives in other tests meanwhile.
static SEARCH: Mutex<()> = Mutex::new(());

/// A secret to look for, never in the clear in here.
pub(crate) struct Needle {
    name: String,
    masked: Vec<u8>,
}

impl Needle {
    /// A random secret. It comes into being masked; [`Needle::reveal`] gives it in the clear.
    pub(crate) fn random(name: &str, len: usize) -> Self {
        let mut masked = vec![0; len];
        crate::crypto::random(&mut masked).expect("random");
        Self {
            name: name.into(),
            masked,
        }
    }

    /// A secret that exists already, such as one that the code under test made.
    pub(crate) fn of(name: &str, secret: &[u8]) -> Self {
        Self {
            name: name.into(),
            masked: secret.iter().map(|b| b ^ MASK).collect(),
        }
    }

    /// The secret in the clear, on the heap and wiped on drop.
    pub(crate) fn reveal<const N: usize>(&self) -> Box<Zeroizing<[u8; N]>> {
        let mut secret = Box::new(Zeroizing::new([0; N]));
        assert_eq!(self.masked.len(), N);
        for (byte, masked) in secret.iter_mut().zip(&self.masked) {
            *byte = masked ^ MASK;
        }
        secret
    }

    /// The secret with each byte XORed with `pad`, as HMAC keeps a key for a moment.
    pub(crate) fn padded(&self, pad: u8) -> Self {
        let name = format!("{} ^ {pad:#04x}", self.name);
        Self {
            name,
            masked: self.masked.iter().map(|b| b ^ pad).collect(),
        }
    }

    /// The 15 round keys of AES-256 (FIPS 197, 5.2) under this secret, computed masked. The first two are
    /// the secret's halves; the first and the last are in a decryption schedule too.
    pub(crate) fn aes_256_round_keys(&self) -> Vec<Self> {
        assert_eq!(self.masked.len(), 32);
        let mut words: Vec<[u8; 4]> = self.masked.as_chunks::<4>().0.to_vec();
        let mut round_constant = 1_u8;
        for i in 8..60 {
            let mut word = words[i - 1].map(|b| b ^ MASK);
            if i % 8 == 0 {
                word.rotate_left(1);
                word = word.map(s_box);
                word[0] ^= round_constant;
                round_constant <<= 1;
            } else if i % 8 == 4 {
                word = word.map(s_box);
            }
            words.push(std::array::from_fn(|j| words[i - 8][j] ^ word[j]));
        }
        let named = |(round, key): (usize, &[[u8; 4]; 4])| Self {
            name: format!("{}, AES-256 round key {round}", self.name),
            masked: key.concat(),
        };
        words
            .as_chunks::<4>()
            .0
            .iter()
            .enumerate()
            .map(named)
            .collect()
    }
}

/// AES's S-box (FIPS 197, 5.1.1) by its definition: the inverse in GF(2^8), then an affine map.
fn s_box(x: u8) -> u8 {
    let multiply = |mut a: u8, mut b: u8| {
        let mut product = 0;
        while b != 0 {
            product ^= a * (b & 1);
            a = (a << 1) ^ (0x1B * (a >> 7));
            b >>= 1;
        }
        product
    };
    // x^254 is the inverse, and 0 for 0.
    let inverse = (0..253).fold(x, |power, _| multiply(power, x));
    (0..5).fold(0x63, |sum, n| sum ^ inverse.rotate_left(n))
}

/// Where each of `needles` is in writable memory at this moment, in words for an assertion's message.
pub(crate) fn find(needles: &[Needle]) -> Vec<String> {
    const CHUNK: usize = 1 << 20;

    let overlap = needles
        .iter()
        .map(|n| n.masked.len())
        .max()
        .map_or(0, |n| n - 1);
    let mut may_start = [false; 256];
    for needle in needles {
        assert!(
            needle.masked.len() >= 16,
            "shorter ones are found by chance"
        );
        may_start[usize::from(needle.masked[0] ^ MASK)] = true;
    }
    let is_at = |needle: &Needle, bytes: &[u8]| {
        bytes.len() >= needle.masked.len()
            && needle.masked.iter().zip(bytes).all(|(n, b)| n ^ MASK == *b)
    };
    let _alone = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);

    let maps = fs::read_to_string("/proc/self/maps").expect("Linux with /proc");
    let memory = File::open("/proc/self/mem").expect("Linux with /proc");
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    let own = buffer.as_ptr().addr() as u64..(buffer.as_ptr().addr() + CHUNK) as u64;
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions) = (
            fields.next().expect("range"),
            fields.next().expect("permissions"),
        );
        let region = fields.nth(3).unwrap_or("anonymous");
        if !permissions.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').expect("start-end");
        let start = u64::from_str_radix(start, 16).expect("hexadecimal");
        let end = u64::from_str_radix(end, 16).expect("hexadecimal");

        let mut at = start;
        while at < end {
            let wanted = usize::try_from(end - at).map_or(CHUNK, |n| n.min(CHUNK));
            // A region that another test unmapped meanwhile, or one that can't be read.
            let Ok(len) = memory.read_at(&mut buffer[..wanted], at) else {
                break;
            };
            if len == 0 {
                break;
            }
            for (i, first) in buffer[..len].iter().enumerate() {
                let address = at + i as u64;
                if !may_start[usize::from(*first)] || own.contains(&address) {
                    continue;
                }
                for needle in needles.iter().filter(|n| is_at(n, &buffer[i..len])) {
                    found.push(format!("{} at {address:#x} in {region}", needle.name));
                }
            }
            at += if len == wanted && at + (len as u64) < end {
                (len - overlap) as u64
            } else {
                len as u64
            };
        }
    }
    found
}

/// Runs `work` on a new thread and searches when it has returned and dropped what it owned.
pub(crate) fn found_after(needles: &[Needle], work: impl FnOnce() + Send) -> Vec<String> {
    let (done, searched) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            work();
            done.store(true, Ordering::Release);
            // Waiting on a channel would overwrite more of the stack.
            while !searched.load(Ordering::Acquire) {
                thread::yield_now();
            }
        });
        while !done.load(Ordering::Acquire) && !worker.is_finished() {
            thread::yield_now();
        }
        let found = find(needles);
        searched.store(true, Ordering::Release);
        worker.join().expect("the work does not panic");
        found
    })
}

mod controls {
    use std::hint::black_box;

    use super::{Needle, find, found_after, s_box};

    #[test]
    fn the_s_box_is_fips_197s() {
        assert_eq!(
            [0x00, 0x01, 0x53, 0xFF].map(s_box),
            [0x63, 0x7C, 0xED, 0x16]
        );
    }

    /// FIPS 197, A.3.
    #[test]
    fn the_key_schedule_is_fips_197s() {
        let key = [
            0x60, 0x3D, 0xEB, 0x10, 0x15, 0xCA, 0x71, 0xBE, 0x2B, 0x73, 0xAE, 0xF0, 0x85, 0x7D,
            0x77, 0x81, 0x1F, 0x35, 0x2C, 0x07, 0x3B, 0x61, 0x08, 0xD7, 0x2D, 0x98, 0x10, 0xA3,
            0x09, 0x14, 0xDF, 0xF4,
        ];
        let rounds = Needle::of("key", &key).aes_256_round_keys();
        assert_eq!(rounds.len(), 15);
        let last = [
            0xFE, 0x48, 0x90, 0xD1, 0xE6, 0x18, 0x8D, 0x0B, 0x04, 0x6D, 0xF3, 0x44, 0x70, 0x6C,
            0x63, 0x1E,
        ];
        assert_eq!(**rounds[14].reveal::<16>(), last);
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert_eq!(find(&[Needle::random("secret", 32)]), [""; 0]);
    }

    #[test]
    fn a_living_secret_is_found() {
        let needle = [Needle::random("secret", 32)];
        let secret = needle[0].reveal::<32>();
        assert_eq!(find(&needle).len(), 1);
        black_box(&secret);
        drop(secret);
        assert_eq!(find(&needle), [""; 0]);
    }

    #[test]
    fn a_secret_left_in_freed_memory_is_found() {
        let needle = [Needle::random("secret", 32)];
        let found = found_after(&needle, || {
            // The allocator writes its own notes over the first bytes.
            let mut careless = vec![0; 1024];
            careless[512..544].copy_from_slice(&needle[0].reveal::<32>()[..]);
            black_box(&careless);
        });
        assert_ne!(found, [""; 0]);
    }

    #[test]
    fn a_secret_left_on_the_stack_is_found() {
        #[inline(never)]
        fn careless(secret: &[u8; 32]) {
            let mut copy = [0; 4096];
            copy[1024..1056].copy_from_slice(secret);
            black_box(&copy);
        }
        let needle = [Needle::random("secret", 32)];
        let found = found_after(&needle, || careless(&needle[0].reveal()));
        assert_ne!(found, [""; 0]);
    }

    #[test]
    fn a_living_key_schedule_is_found() {
        use aes_kw::KeyInit as _;

        let kek = Needle::random("KEK", 32);
        let rounds = kek.aes_256_round_keys();
        let schedule = Box::new(aes_kw::KwAes256::new((&**kek.reveal::<32>()).into()));
        let found = find(&rounds);
        black_box(&schedule);
        // Without AES instructions the schedule is kept bit-sliced.
        if cfg!(target_arch = "x86_64") && std::arch::is_x86_feature_detected!("aes") {
            assert!(
                found.iter().any(|f| f.contains("round key 14")),
                "{found:?}"
            );
            assert!(found.iter().any(|f| f.contains("round key 2")), "{found:?}");
        }
    }
}
