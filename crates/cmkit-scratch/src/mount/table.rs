//! The mount table, as `/proc/self/mountinfo` (proc_pid_mountinfo(5)) has it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use cmkit::Result;

use crate::failure::io_at;

const MOUNT_INFO: &str = "/proc/self/mountinfo";

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its device, major and minor.
    pub(crate) device: (u32, u32),
    /// Where it is mounted.
    pub(crate) dir: PathBuf,
    /// Such as `ext4`.
    pub(crate) kind: String,
    /// What is mounted: a device's path, or any name.
    pub(crate) source: PathBuf,
}

/// Everything that is mounted, in the order in which it was.
pub(crate) struct Table(Vec<Entry>);

pub(crate) fn read() -> Result<Table> {
    let text = fs::read(MOUNT_INFO).map_err(|e| io_at("read", Path::new(MOUNT_INFO), e))?;
    Ok(Table::parse(&text))
}

impl Table {
    pub(crate) fn parse(text: &[u8]) -> Self {
        // A line in a form that isn't known yet is not one of ours.
        Self(text.split(|b| *b == b'\n').filter_map(entry).collect())
    }

    /// What is seen at `dir`: of several mounts at one place the last.
    pub(crate) fn on_top(&self, dir: &Path) -> Option<&Entry> {
        self.0.iter().rfind(|entry| entry.dir == dir)
    }

    /// The mounts of a device.
    pub(crate) fn of_device(&self, device: (u32, u32)) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.device == device)
    }

    /// The mounts of a source, such as `/dev/loop3`.
    pub(crate) fn of_source(&self, source: &Path) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.source == source)
    }

    /// The mounts below a directory, without the ones on it.
    pub(crate) fn below(&self, dir: &Path) -> impl Iterator<Item = &Entry> {
        self.0
            .iter()
            .filter(move |entry| entry.dir != dir && entry.dir.starts_with(dir))
    }
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, with any number of fields before the dash.
fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|b| *b == b' ');
    let mut next = || fields.next();
    let (_id, _parent) = (next()?, next()?);
    let device = std::str::from_utf8(next()?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let _root = next()?;
    let dir = unescape(next()?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next()?);
    Some(Entry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        dir,
        kind,
        source,
    })
}

/// Blanks, newlines and backslashes are written as three octal digits.
pub(crate) fn unescape(text: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[4..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain).into()
}

fn octal(text: &[u8]) -> Option<u8> {
    let digits = text.get(1..4).filter(|_| text[0] == b'\\')?;
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        (b'0'..=b'7')
            .contains(digit)
            .then(|| value * 8 + u32::from(digit - b'0'))
    })?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw\n\
36 27 7:3 / /mnt/with\\040blank rw,noatime shared:1 master:2 - ext4 /dev/loop3 rw\n\
37 36 7:4 / /mnt/with\\040blank/in rw - xfs /dev/loop4 rw\n\
38 27 7:5 / /mnt/with\\040blank rw - xfs /dev/loop\\1345 rw\n\
not a line\n\
39 27 x:y / /nonsense rw - a b c\n";

    #[test]
    fn lines_are_read_with_their_escapes() {
        let table = Table::parse(TABLE);
        assert_eq!(table.0.len(), 4);
        let dir = Path::new("/mnt/with blank");
        let top = table.on_top(dir).unwrap();
        assert_eq!((top.device, top.kind.as_str()), ((7, 5), "xfs"));
        assert_eq!(top.source, Path::new("/dev/loop\\5"));
        assert_eq!(table.of_device((7, 3)).count(), 1);
        let below: Vec<_> = table.below(dir).map(|entry| &entry.dir).collect();
        assert_eq!(below, [Path::new("/mnt/with blank/in")]);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        for (text, plain) in [
            ("a\\04", "a\\04"),
            ("\\049", "\\049"),
            ("\\777x", "\\777x"),
            ("\\", "\\"),
            ("\\134040", "\\040"),
        ] {
            assert_eq!(unescape(text.as_bytes()), Path::new(plain));
        }
    }

    #[test]
    fn this_machine_has_proc() {
        let table = read().unwrap();
        assert_eq!(table.on_top(Path::new("/proc")).unwrap().kind, "proc");
    }
}
