//! Every file of a directory tree, in bounded memory.

use std::ffi::OsStr;
use std::fs::{self, ReadDir};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Levels of directories, each of which keeps one file descriptor open.
const MAX_DEPTH: usize = 200;

/// What a walk comes across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The file that was asked for by name.
    Named,
    /// A regular file in a tree.
    File,
    /// A symbolic link in a tree. It isn't followed: what it points to is in the tree, or outside.
    Link,
}

/// Calls `visit` for the file of that name, or for every file and symbolic link below the directory, in no order. What can't be looked at is visited
/// as an error; devices, pipes and sockets in a tree are passed over.
pub(crate) fn walk(
    root: &Path,
    visit: &mut dyn FnMut(&Path, Result<Found>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let metadata = match fs::metadata(root) {
        Ok(metadata) => metadata,
        Err(e) => return visit(root, Err(Error::io_at("open", root, e))),
    };
    if !metadata.is_dir() {
        return visit(root, Ok(Found::Named));
    }
    // One open directory a level, and no list of what is still to come: a directory may have any number of entries.
    let mut open: Vec<(PathBuf, ReadDir)> = Vec::new();
    enter(root.to_owned(), &mut open, visit)?;
    while let Some((dir, entries)) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let found = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)));
        let (path, kind) = match found {
            Ok(found) => found,
            // Removed meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                let dir = dir.clone();
                // What the system repeats for ever isn't asked for again.
                open.pop();
                visit(&dir, Err(Error::io_at("list", &dir, e)))?;
                continue;
            }
        };
        if kind.is_dir() {
            enter(path, &mut open, visit)?;
        } else if kind.is_symlink() {
            visit(&path, Ok(Found::Link))?;
        } else if kind.is_file() {
            visit(&path, Ok(Found::File))?;
        }
    }
    ControlFlow::Continue(())
}

fn enter(
    dir: PathBuf,
    open: &mut Vec<(PathBuf, ReadDir)>,
    visit: &mut dyn FnMut(&Path, Result<Found>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if open.len() == MAX_DEPTH {
        let problem = "directories are nested deeper than 200 levels; name this one by itself";
        return visit(&dir, Err(Error::invalid(problem).in_file(&dir)));
    }
    match fs::read_dir(&dir) {
        Ok(entries) => open.push((dir, entries)),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !open.is_empty() => {}
        Err(e) => return visit(&dir, Err(Error::io_at("list", &dir, e))),
    }
    ControlFlow::Continue(())
}

/// Whether this is the name of a file that is being made, or that a killed process left: `.NAME.RANDOM.cmk-tmp`, or `.RANDOM.tmp` in a key store.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let is_random = |text: &[u8]| text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit);
    let Some(rest) = name.strip_prefix(b".") else {
        return false;
    };
    if let Some(rest) = rest.strip_suffix(b".cmk-tmp") {
        return rest
            .len()
            .checked_sub(17)
            .is_some_and(|at| rest[at] == b'.' && is_random(&rest[at + 1..]));
    }
    rest.strip_suffix(b".tmp").is_some_and(is_random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &Path) -> Vec<(String, Option<Found>)> {
        let mut all = Vec::new();
        let flow = walk(root, &mut |path, found| {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            all.push((name, found.ok()));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    #[test]
    fn a_file_a_tree_and_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for name in ["one", "a/two", "a/b/three"] {
            fs::write(root.join(name), "x").unwrap();
        }
        let names: Vec<_> = found(root).into_iter().map(|f| f.0).collect();
        assert_eq!(names, ["a/b/three", "a/two", "one"]);
        assert_eq!(
            found(&root.join("one")),
            [(String::new(), Some(Found::Named))]
        );
        assert_eq!(found(&root.join("none")), [(String::new(), None)]);
    }

    #[test]
    fn a_walk_stops_when_told() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..9 {
            fs::write(dir.path().join(n.to_string()), "x").unwrap();
        }
        let mut seen = 0;
        let flow = walk(dir.path(), &mut |_, _| {
            seen += 1;
            match seen {
                3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        assert!(flow.is_break() && seen == 3);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_not_followed() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(root, root.join("loop")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let links = ["dangling", "loop", "out"].map(|n| (n.to_owned(), Some(Found::Link)));
        assert_eq!(found(root), links);
        // The root itself is named, and followed.
        assert_eq!(found(&root.join("out")).len(), 1);
        drop(socket);
    }

    #[test]
    fn too_deep_is_reported_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().to_owned();
        for _ in 0..MAX_DEPTH + 3 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(dir.path().join("z"), "x").unwrap();
        let all = found(dir.path());
        assert_eq!(all.len(), 2);
        assert!(all[0].1.is_none() && all[1].1 == Some(Found::File));
    }

    #[test]
    fn names_of_temporary_files() {
        for (name, is) in [
            (".plan.cmk.0123456789abcdef.cmk-tmp", true),
            (".0123456789abcdef.tmp", true),
            ("plan.cmk.0123456789abcdef.cmk-tmp", false),
            (".0123456789abcdef.cmk-tmp", false),
            (".plan.0123456789abcde.cmk-tmp", false),
            (".x.tmp", false),
            ("plan", false),
        ] {
            assert_eq!(is_temporary(OsStr::new(name)), is, "{name}");
        }
    }
}
