//! What the XTS mode writes, others open, and the other way round: cryptsetup's LUKS2 in user space, and qemu-img's LUKS1.
#![cfg(target_os = "linux")]
// Bytes of patterns; helpers of tests, which clippy takes for others.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use cmkit::{SectorSize, XtsKey};
use cmkit_scratch::{Access, BlockDevice as _, Durability, FileBacking, Volume};
use common::{need, run_program};

const LEN: usize = 4 << 20;

fn text() -> Vec<u8> {
    (0..LEN)
        .map(|i| (i % 251) as u8 ^ (i >> 12) as u8)
        .collect()
}

struct Room {
    dir: tempfile::TempDir,
    key: Vec<u8>,
}

impl Room {
    fn new() -> Self {
        let room = Self {
            dir: tempfile::tempdir().unwrap(),
            key: (0..64_u8).map(|i| i.wrapping_mul(67) ^ 0x3c).collect(),
        };
        fs::write(room.path("key"), &room.key).unwrap();
        fs::write(room.path("password"), "correct horse").unwrap();
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn volume(&self, path: &Path, size: SectorSize, iv_offset: u64) -> Volume {
        let key = XtsKey::from_bytes(&self.key, size, iv_offset).unwrap();
        let backing = FileBacking::open(path, Access::ReadWrite).unwrap();
        Volume::open_with(Box::new(backing), key, LEN as u64).unwrap()
    }

    /// A detached LUKS2 header for a volume under this room's key.
    fn luks2_header(&self, data: &Path, sector: u32) -> PathBuf {
        let header = self.path("header");
        let _ = fs::remove_file(&header);
        let args = [
            "luksFormat",
            "--batch-mode",
            "--type=luks2",
            "--cipher=aes-xts-plain64",
            "--key-size=512",
            "--pbkdf=pbkdf2",
            "--pbkdf-force-iterations=1000",
            "--disable-locks",
            "--offset=0",
        ];
        let more = [
            format!("--sector-size={sector}"),
            format!("--volume-key-file={}", self.path("key").display()),
            format!("--key-file={}", self.path("password").display()),
            format!("--header={}", header.display()),
            data.display().to_string(),
        ];
        run_program("cryptsetup", &[&args.map(String::from)[..], &more].concat());
        header
    }

    fn reencrypt(&self, way: &str, header: &Path, data: &Path, more: &[&str]) {
        let args = [
            "reencrypt".to_owned(),
            way.to_owned(),
            "--batch-mode".to_owned(),
            "--force-offline-reencrypt".to_owned(),
            "--disable-locks".to_owned(),
            "--resilience=none".to_owned(),
            format!("--key-file={}", self.path("password").display()),
            format!("--header={}", header.display()),
        ];
        let more = more.iter().map(|arg| (*arg).to_owned());
        let args: Vec<String> = args
            .into_iter()
            .chain(more)
            .chain([data.display().to_string()])
            .collect();
        run_program("cryptsetup", &args);
    }
}

const SIZES: [SectorSize; 2] = [SectorSize::B512, SectorSize::B4096];

#[test]
fn cryptsetup_decrypts_what_we_wrote() {
    if !need("cryptsetup") {
        return;
    }
    for size in SIZES {
        let room = Room::new();
        let data = room.path("data");
        fs::write(&data, vec![0; LEN]).unwrap();
        let header = room.luks2_header(&data, size.bytes());
        let volume = room.volume(&data, size, 0);
        volume.write_at(&text(), 0, Durability::Durable).unwrap();
        // Parts of sectors too.
        volume
            .write_at(&text()[1000..9000], 1000, Durability::Durable)
            .unwrap();
        drop(volume);
        assert_ne!(fs::read(&data).unwrap(), text());
        room.reencrypt("--decrypt", &header, &data, &[]);
        assert!(fs::read(&data).unwrap() == text(), "{size:?}");
    }
}

#[test]
fn we_read_what_cryptsetup_encrypted() {
    if !need("cryptsetup") {
        return;
    }
    for size in SIZES {
        let room = Room::new();
        let data = room.path("data");
        fs::write(&data, text()).unwrap();
        let header = room.path("header");
        let sector = format!("--sector-size={}", size.bytes());
        let key = format!("--volume-key-file={}", room.path("key").display());
        let more = [
            &*sector,
            &*key,
            "--type=luks2",
            "--cipher=aes-xts-plain64",
            "--key-size=512",
            "--pbkdf=pbkdf2",
            "--pbkdf-force-iterations=1000",
        ];
        room.reencrypt("--encrypt", &header, &data, &more);
        assert!(fs::read(&data).unwrap() != text());
        let volume = room.volume(&data, size, 0);
        let mut read = vec![0; LEN];
        volume.read_at(&mut read, 0).unwrap();
        assert!(read == text(), "{size:?}");
        let mut part = vec![0; 5000];
        volume.read_at(&mut part, 777).unwrap();
        assert!(part == text()[777..5777]);
    }
}

/// A number of LUKS1's header, at `at`.
fn number(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(header[at..at + 4].try_into().unwrap())
}

/// Makes a LUKS1 image, and gives its data key: qemu tells nobody, so cryptsetup dumps it.
fn luks1(room: &Room, image: &Path) -> (Vec<u8>, u64) {
    let object = format!("secret,id=s0,file={}", room.path("password").display());
    let (path, len) = (image.display().to_string(), LEN.to_string());
    let options = "key-secret=s0,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256,iter-time=10";
    run_program(
        "qemu-img",
        &[
            "create", "-q", "-f", "luks", "--object", &object, "-o", options, &path, &len,
        ],
    );
    let header = fs::read(image).unwrap();
    assert_eq!(&header[..6], b"LUKS\xba\xbe");
    let key = room.path("luks1-key");
    let (password, out) = (
        format!("--key-file={}", room.path("password").display()),
        format!("--volume-key-file={}", key.display()),
    );
    run_program(
        "cryptsetup",
        &[
            "luksDump",
            "--batch-mode",
            "--disable-locks",
            "--dump-volume-key",
            &password,
            &out,
            &path,
        ],
    );
    (
        fs::read(key).unwrap(),
        u64::from(number(&header, 104)) * 512,
    )
}

#[test]
fn qemu_reads_what_we_wrote_and_we_what_it_wrote() {
    if !need("qemu-img") || !need("cryptsetup") {
        return;
    }
    let mut room = Room::new();
    let image = room.path("image.luks");
    let (key, payload) = luks1(&room, &image);
    assert_eq!(key.len(), 64);
    room.key = key;
    let object = format!("secret,id=s0,file={}", room.path("password").display());
    let source = format!(
        "driver=luks,key-secret=s0,file.driver=file,file.filename={}",
        image.display()
    );
    let raw = room.path("raw");
    let plain = format!(
        "driver=raw,file.driver=file,file.filename={}",
        raw.display()
    );

    // Its sectors have 512 bytes and are counted from the payload on.
    let data = room.path("payload");
    fs::write(&data, vec![0; LEN]).unwrap();
    let volume = room.volume(&data, SectorSize::B512, 0);
    volume.write_at(&text(), 0, Durability::Durable).unwrap();
    drop(volume);
    let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
    file.write_all_at(&fs::read(&data).unwrap(), payload)
        .unwrap();
    drop(file);
    run_program(
        "qemu-img",
        &[
            "convert",
            "--object",
            &object,
            "--image-opts",
            "-O",
            "raw",
            &source,
            &raw.display().to_string(),
        ],
    );
    assert!(fs::read(&raw).unwrap() == text());

    // And the other way, by parts that begin somewhere: dm-crypt's iv_offset.
    let other: Vec<u8> = text().iter().map(|byte| byte ^ 0x5a).collect();
    fs::write(&raw, &other).unwrap();
    run_program(
        "qemu-img",
        &[
            "convert",
            "-n",
            "--object",
            &object,
            "--image-opts",
            "--target-image-opts",
            &plain,
            &source,
        ],
    );
    let encrypted = fs::read(&image).unwrap();
    fs::write(&data, &encrypted[usize::try_from(payload).unwrap()..]).unwrap();
    let mut read = vec![0; LEN];
    room.volume(&data, SectorSize::B512, 0)
        .read_at(&mut read, 0)
        .unwrap();
    assert!(read == other);
    let skipped = 1 << 20;
    let mut shifted = fs::read(&data).unwrap().split_off(skipped);
    shifted.resize(LEN, 0);
    fs::write(&data, shifted).unwrap();
    let volume = room.volume(&data, SectorSize::B512, skipped as u64 / 512);
    volume.read_at(&mut read[..LEN - skipped], 0).unwrap();
    assert!(read[..LEN - skipped] == other[skipped..]);
}
