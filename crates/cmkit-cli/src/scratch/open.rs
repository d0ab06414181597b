//! `cmkit scratch open`: a volume of `create` again.

use std::io::{self, Write as _};
use std::path::Path;

use cmkit::{AtomicFile, Keyring, Overwrite};
use cmkit_scratch::{Access, BlockDevice as _, Expose, FileSystem, JobScratch, Volume, open_path};

use super::disk::{Keys, is_in_memory};
use super::serve::{expose, until_stopped};
use super::setup::Setup;
use super::tell::failure;
use super::volume_file;
use crate::args;
use crate::discreet::shown;
use crate::failure::{Doing, Failure, Result, say};
use crate::keyrings::Keyrings;
use crate::keys::Home;
use crate::signals::Signals;
use crate::text::shell;

/// `cmkit scratch open`
pub(crate) fn run(args: args::ScratchOpen, home: Home, signals: &Signals) -> Result {
    let file = volume_file::path_of(&args.volume, args.volume_file)?;
    let wrapped = volume_file::read(&file)?;
    if args.mount.is_some() {
        super::mount::check_permitted()?;
    }
    let mut keys = Keys::new(Keyrings::new(home, args.vault, args.audit)?);
    if let Some(out) = &args.kernel_key {
        let keyring = keys.keyrings.opening(&args.key, None, None)?;
        return kernel_key(&keys, &keyring, &wrapped, &args.volume, out);
    }
    let setup = Setup::new(args.job, "open")?;
    let keyring = keys.keyrings.opening(&args.key, None, None)?;
    keys.maintain(&keyring)?;
    until_stopped(&setup, signals, || {
        let backing = open_path(&args.volume, Access::ReadWrite).map_err(|e| failure(&e))?;
        let volume = Volume::open(backing, &wrapped, &keyring)
            .map_err(|e| keys.keyrings.failure(&e, Doing::Else))?;
        let expose = match args.mount {
            Some(dir) => Expose::Mount {
                dir: Some(dir),
                file_system: file_system_of(&volume)?,
                owner: None,
            },
            None => expose(args.socket, args.file)?,
        };
        let job = JobScratch::begin_kept(&setup.state, &setup.name, volume, &args.volume, &expose)
            .map_err(|e| setup.cannot_begin(&e, &keys))?;
        setup.warn_of(&job);
        Ok(job)
    })
}

/// What is in a volume, by what ext4 and XFS begin with.
fn file_system_of(volume: &Volume) -> Result<FileSystem> {
    let mut start = [0; 4096];
    let len = usize::try_from(volume.len()).unwrap_or(4096).min(4096);
    volume
        .read_at(&mut start[..len], 0)
        .map_err(|e| failure(&e))?;
    if start.starts_with(b"XFSB") {
        return Ok(FileSystem::Xfs);
    }
    // The superblock's magic number, little endian, in the second KiB.
    if start[1024 + 56..][..2] == [0x53, 0xEF] {
        return Ok(FileSystem::Ext4);
    }
    Err(Failure::other(
        "there is no ext4 and no XFS in the volume: make one, on the file of `cmkit scratch open --file`, or at once with \
         `cmkit scratch create --fs`",
    ))
}

/// Gives the key to somebody who has a kernel map the volume, and says how.
fn kernel_key(keys: &Keys, keyring: &Keyring, wrapped: &[u8], volume: &Path, out: &Path) -> Result {
    let failed = |e| keys.keyrings.failure(&e, Doing::Else);
    let (key, layout) = keyring.open_xts_volume(wrapped).map_err(failed)?;
    let bytes = key.kernel_key().map_err(failed)?;
    let mut file = AtomicFile::create(out, Overwrite::Refuse).map_err(|e| failure(&e))?;
    file.write_all(bytes.expose())
        .map_err(|e| crate::place::cannot("write", out, &e))?;
    file.commit(None).map_err(|e| failure(&e))?;
    if !is_in_memory(
        out.parent()
            .filter(|d| !d.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    ) {
        say(&format!(
            "{} is on a disk, and the volume's key in the clear in it: take a directory in memory, such as /run, and remove it soon",
            shown(out)
        ));
    }
    let (volume, out) = (shell(&shown(volume)), shell(&shown(out)));
    let text = format!(
        "# The kernel then reads and writes the volume by itself: cmkit can't stop it when the key is revoked.\n\
         cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --sector-size {sector} --skip {skip} \
         --offset 0 --size {sectors} --key-file {out} {volume} NAME\n\
         # or, with VOLUME a block device:\n\
         echo \"0 {sectors} crypt aes-xts-plain64 $(xxd -p -c 64 {out}) {skip} {volume} 0 2 sector_size:{sector} allow_discards\" | dmsetup create NAME\n",
        sector = layout.sector_size.bytes(),
        skip = layout.iv_offset,
        sectors = layout.len / 512,
    );
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::print(&e))
}
