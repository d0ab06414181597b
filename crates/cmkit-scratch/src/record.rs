//! What is written down of a disk's end.

use std::path::{Path, PathBuf};

use cmkit::Result;
use serde::{Deserialize, Serialize};

use crate::private::{check_name, json_names, private_dir, read_json, write_json};
use crate::time::UtcTime;

/// That a scratch disk was erased, when, and what of it may still be somewhere: for an audit.
///
/// One JSON file for each volume, `VOLUME.json`, mode 0600. It holds names and times; no key, no data, no encryption context. Fields that a later
/// version adds are ignored by this one, and those that are missing read as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ErasureRecord {
    /// The volume's id, 1 to 64 of `0-9A-Za-z._-`.
    pub volume: String,
    /// The job whose disk it was.
    pub job: Option<String>,
    /// How it was encrypted: `ephemeral` or `xts`.
    pub mode: String,
    /// The ids of the keys that wrapped its data key. None: it was in this process's memory only.
    pub keys: Vec<String>,
    /// When it was made.
    pub created: Option<UtcTime>,
    /// When the job ended.
    pub ended: Option<UtcTime>,
    /// From when on nobody could read it.
    pub key_destroyed: Option<UtcTime>,
    /// Bytes that the disk had.
    pub size: u64,
    /// Bytes that were written to it, those written twice counted twice.
    pub bytes_written: u64,
    /// What became of the room.
    pub discard: Discard,
    /// What is still there and couldn't be removed, in a sentence each. None: nothing.
    pub left_behind: Vec<String>,
    /// Whether it was written by recovery, because the process that owned the disk died. The key died with that process, at an unknown moment
    /// before [`key_destroyed`](Self::key_destroyed).
    pub recovered: bool,
    /// How the job ended, in words.
    pub end: String,
}

/// What became of a disk's room when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Discard {
    /// It was given back to the file system or device.
    GivenBack,
    /// The backing can't give room back: the ciphertext is there until it is overwritten.
    Unsupported,
    /// It failed: the ciphertext is there until it is overwritten.
    Failed {
        /// Why.
        why: String,
    },
    /// Nobody asked for it.
    #[default]
    NotTried,
    /// A later version of cmkit wrote something that this one doesn't know.
    #[serde(other)]
    Unknown,
}

impl ErasureRecord {
    /// A record of nothing but a volume's id.
    #[must_use]
    pub fn new(volume: impl Into<String>) -> Self {
        Self {
            volume: volume.into(),
            ..Self::default()
        }
    }

    /// Writes the record into a directory, which is made if there is none, and says where. It is whole and on the disk then; a record of the same
    /// volume is replaced in one step, so that a crash leaves the one or the other.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): the volume's id can't be a file name.
    /// * [`Error::NotPermitted`](cmkit::Error::NotPermitted): the directory is somebody else's, a symbolic link, or others may write to it.
    /// * [`Error::Io`](cmkit::Error::Io): it can't be written.
    pub fn save(&self, dir: &Path) -> Result<PathBuf> {
        check_name("a volume", &self.volume)?;
        private_dir(dir)?;
        let path = dir.join(format!("{}.json", self.volume));
        write_json(&path, self)?;
        Ok(path)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): it isn't one.
    /// * [`Error::Io`](cmkit::Error::Io): it can't be read, or there is none.
    pub fn load(path: &Path) -> Result<Self> {
        read_json(path)?.ok_or_else(|| {
            let missing = std::io::ErrorKind::NotFound.into();
            crate::failure::io_at("open", path, missing)
        })
    }

    /// All records in a directory, the oldest end first. Without a directory there are none.
    ///
    /// # Errors
    /// * [`Error::Io`](cmkit::Error::Io): the directory can't be listed. A record that can't be read is in the list, as an error that names it.
    pub fn list(dir: &Path) -> Result<Vec<Result<Self>>> {
        let names = json_names(dir)?;
        let read = |name: String| Self::load(&dir.join(format!("{name}.json")));
        let mut records: Vec<_> = names.into_iter().map(read).collect();
        // Those that can't be read come first.
        records.sort_by_key(|record| record.as_ref().map_or(None, |r| r.ended));
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cmkit::ErrorKind;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    fn record(volume: &str, ended: u64) -> ErasureRecord {
        ErasureRecord {
            job: Some("train-7".into()),
            mode: "ephemeral".into(),
            keys: vec!["local:team/1".into()],
            created: Some(UtcTime::from_unix(5)),
            ended: Some(UtcTime::from_unix(ended)),
            key_destroyed: Some(UtcTime::from_unix(ended)),
            size: 1 << 40,
            bytes_written: u64::MAX,
            discard: Discard::Failed {
                why: "no such device".into(),
            },
            left_behind: vec!["/mnt/scratch is still mounted, by process 7".into()],
            recovered: true,
            end: "exit status 1".into(),
            ..ErasureRecord::new(volume)
        }
    }

    #[test]
    fn records_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let records = dir.path().join("records");
        assert!(ErasureRecord::list(&records).unwrap().is_empty());
        let (late, early) = (record("a", 200), record("b", 100));
        let path = late.save(&records).unwrap();
        early.save(&records).unwrap();
        let listed = ErasureRecord::list(&records).unwrap();
        let listed: Vec<_> = listed.into_iter().map(Result::unwrap).collect();
        assert_eq!(listed, [early, late.clone()]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&records).unwrap().mode() & 0o777, 0o700);
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(r#""ended": "1970-01-01T00:03:20Z""#),
            "{text}"
        );

        let replaced = ErasureRecord {
            discard: Discard::GivenBack,
            ..late
        };
        assert_eq!(replaced.save(&records).unwrap(), path);
        assert_eq!(ErasureRecord::load(&path).unwrap(), replaced);
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.json");
        fs::write(
            &path,
            r#"{"volume":"v","colour":"red","discard":{"result":"burnt","why":{}}}"#,
        )
        .unwrap();
        let expected = ErasureRecord {
            discard: Discard::Unknown,
            ..ErasureRecord::new("v")
        };
        assert_eq!(ErasureRecord::load(&path).unwrap(), expected);
        for discard in [Discard::GivenBack, Discard::Unsupported, Discard::NotTried] {
            let text = serde_json::to_string(&discard).unwrap();
            assert_eq!(serde_json::from_str::<Discard>(&text).unwrap(), discard);
        }
    }

    #[test]
    fn what_is_no_record_is_named_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        record("good", 1).save(dir.path()).unwrap();
        fs::write(dir.path().join("bad.json"), "{").unwrap();
        // What a killed process leaves, and what isn't ours.
        fs::write(dir.path().join(".good.json.0123456789abcdef.cmk-tmp"), "{").unwrap();
        fs::write(dir.path().join("README"), "").unwrap();
        let listed = ErasureRecord::list(dir.path()).unwrap();
        assert_eq!(listed.len(), 2);
        let error = listed[0].as_ref().unwrap_err();
        assert!(error.to_string().contains("bad.json"), "{error}");
        assert_eq!(listed[1].as_ref().unwrap().volume, "good");

        for name in ["", "../up", ".hidden"] {
            let refused = record(name, 1).save(dir.path()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        }
        let none = ErasureRecord::load(&dir.path().join("none.json")).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::Io);
    }

    /// Not a test by itself: the process that the next one kills.
    #[test]
    fn victim_that_writes_records_for_ever() {
        let Some(dir) = std::env::var_os("CMKIT_TEST_RECORDS") else {
            return;
        };
        for round in 0.. {
            let mut record = record("v", round);
            record.left_behind = vec![round.to_string(); 2000];
            record.save(Path::new(&dir)).unwrap();
        }
    }

    #[test]
    fn a_killed_writer_leaves_a_whole_record() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            let path = record("v", 0).save(dir.path()).unwrap();
            let mut victim = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "record::tests::victim_that_writes_records_for_ever",
                ])
                .env("CMKIT_TEST_RECORDS", dir.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Somewhere in the middle of its work, once that has begun.
            while ErasureRecord::load(&path).unwrap().left_behind.len() < 2000 {
                assert!(victim.try_wait().unwrap().is_none(), "it ended by itself");
            }
            victim.kill().unwrap();
            victim.wait().unwrap();
            let record = ErasureRecord::load(&path).unwrap();
            let round = record.ended.unwrap().unix().to_string();
            assert!(record.left_behind.iter().all(|line| *line == round));
        }
    }
}
