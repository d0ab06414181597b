//! What exposes a disk, and taking it down.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::fuse::FuseMount;
use crate::loop_device::LoopDevice;
use crate::mount::Mount;
use crate::nbd::NbdServer;

/// For what ends at once unless a backing hangs.
const MOMENT: Duration = Duration::from_secs(2);

pub(super) enum Front {
    Nothing,
    Nbd(NbdServer),
    File { file: FuseMount, path: PathBuf },
    Mounted(Mounted),
}

/// From the inside to the outside.
pub(super) struct Mounted {
    mount: Option<Mount>,
    device: LoopDevice,
    file: FuseMount,
}

impl Front {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Nothing => None,
            Self::Nbd(server) => Some(server.socket()),
            Self::File { path, .. } => Some(path),
            Self::Mounted(mounted) => mounted.mount.as_ref().map(Mount::dir),
        }
    }

    pub(super) fn add_loop(&mut self, device: LoopDevice) {
        if let Self::File { file, .. } = std::mem::replace(self, Self::Nothing) {
            *self = Self::Mounted(Mounted {
                mount: None,
                device,
                file,
            });
        }
    }

    pub(super) fn add_mount(&mut self, mount: Mount) {
        if let Self::Mounted(mounted) = self {
            mounted.mount = Some(mount);
        }
    }

    /// Has those who use it finish, until the deadline. Whoever is left at it is in the sentence that comes back.
    pub(super) fn quiesce(&mut self, deadline: Instant) -> Option<String> {
        let mount = match self {
            Self::Mounted(Mounted {
                mount: Some(mount), ..
            }) => mount,
            // An NBD client has no way to be asked.
            _ => return None,
        };
        mount.unmount(deadline).err().map(|e| e.to_string())
    }

    /// Has what programs wrote to a mounted file system reach the disk.
    pub(super) fn sync(&mut self) {
        if let Some(dir) = self.path()
            && let Ok(dir) = std::fs::File::open(dir)
        {
            // What fails here fails the flush that follows.
            let _ = rustix::fs::syncfs(&dir);
        }
    }

    /// Takes it away, after the key is gone: nothing waits for a user any more. What is left, a sentence each.
    pub(super) fn take_down(self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Nbd(server) => stop(server),
            Self::File { mut file, .. } => unmount_file(&mut file),
            Self::Mounted(Mounted {
                mut mount,
                mut device,
                mut file,
            }) => {
                let mut left = Vec::new();
                // Before anything else is written: a backing that hangs would keep the rest waiting.
                file.stop();
                left.extend(file.cut_off().err().map(|e| e.to_string()));
                let lazily = mount.as_mut().map(Mount::unmount_lazily);
                left.extend(lazily.and_then(Result::err).map(|e| e.to_string()));
                let detached = device.detach(Instant::now() + MOMENT);
                left.extend(detached.err().map(|e| e.to_string()));
                left.extend(unmount_file(&mut file));
                left
            }
        }
    }
}

/// A request that hangs in the backing keeps a server from stopping; the key is gone all the same.
fn stop(server: NbdServer) -> Vec<String> {
    let socket = server.socket().to_owned();
    let (done, is_done) = mpsc::channel();
    let started = thread::Builder::new()
        .name("cmkit-nbd-stop".into())
        .spawn(move || {
            drop(server);
            let _ = done.send(());
        });
    match started {
        Ok(_) if is_done.recv_timeout(MOMENT * 2).is_ok() => Vec::new(),
        _ => vec![format!(
            "{}: a request to its disk hasn't come back, so its server hasn't stopped",
            socket.display()
        )],
    }
}

fn unmount_file(file: &mut FuseMount) -> Vec<String> {
    let unmounted = file.abort();
    unmounted.err().map(|e| e.to_string()).into_iter().collect()
}
