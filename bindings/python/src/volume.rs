//! `cmkit.Volume`: an encrypted disk for use in this process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cmkit::{SectorSize, XtsKey};
use cmkit_scratch::{Access, BlockDevice as _, Durability, ExtentKind, Punched, Zeroes, open_path};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use zeroize::Zeroizing;

use crate::block_device::{Place, invalid, volume_mode, volume_spec};
use crate::buffer::{Input, Items, Output, new_bytes};
use crate::error::{blocking, guard, state_error, to_python};
use crate::keyring::Keyring;
use crate::nbd::NbdServer;
use crate::owned::{Owned, released};
use crate::provider::bytes_of;

/// Bytes that are read or written before signals are looked at.
const SLICE: u64 = 16 << 20;
/// The same where they have to be copied first: so few that the copy stays in the cache.
const COPIED_SLICE: u64 = 1 << 20;

/// An encrypted disk over a file, a device or memory.
#[pyclass(frozen, weakref, module = "cmkit", name = "Volume")]
pub(crate) struct Volume {
    /// `None` once it is closed. Locked for a moment only and by whoever has the interpreter, so that no fork finds it locked.
    inner: Owned<Mutex<Option<Arc<cmkit_scratch::Volume>>>>,
    size: u64,
    block_size: u32,
    id: String,
}

#[pymethods]
impl Volume {
    /// A new volume.
    #[staticmethod]
    #[pyo3(signature = (
        size=None, *, dir=None, file=None, device=None, memory=false, force=false, mode="ephemeral", block_size=4096, keyring=None, metadata_budget=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords")]
    fn create(
        py: Python<'_>,
        size: Option<u64>,
        dir: Option<PathBuf>,
        file: Option<PathBuf>,
        device: Option<PathBuf>,
        memory: bool,
        force: bool,
        mode: &str,
        block_size: u32,
        keyring: Option<&Keyring>,
        metadata_budget: Option<u64>,
    ) -> PyResult<Self> {
        guard(|| {
            let place = Place::of(dir, file, device, memory)?;
            let mode = volume_mode(py, mode, block_size)?;
            let spec = volume_spec(mode, keyring, metadata_budget);
            let volume = blocking(py, || {
                place.make(size, force, |room| {
                    cmkit_scratch::Volume::create(room, &spec)
                })
            })?;
            Ok(Self::of(Arc::new(volume)))
        })
    }

    /// A new volume in XTS mode, and the volume file that opens it again.
    #[staticmethod]
    #[pyo3(signature = (size=None, *, keyring, file=None, device=None, force=false, sector_size=4096))]
    fn create_reopenable<'py>(
        py: Python<'py>,
        size: Option<u64>,
        keyring: &Keyring,
        file: Option<PathBuf>,
        device: Option<PathBuf>,
        force: bool,
        sector_size: u32,
    ) -> PyResult<(Self, Bound<'py, PyBytes>)> {
        guard(|| {
            if file.is_none() && device.is_none() {
                let problem = "a volume that is to be opened again needs a file or a device";
                return Err(to_python(py, invalid(problem)));
            }
            let place = Place::of(None, file, device, false)?;
            let sector_size = SectorSize::from_bytes(sector_size).map_err(|e| to_python(py, e))?;
            let (volume, file) = blocking(py, || {
                place.make(size, force, |room| {
                    cmkit_scratch::Volume::create_reopenable(room, sector_size, keyring.core())
                })
            })?;
            Ok((Self::of(Arc::new(volume)), PyBytes::new(py, &file)))
        })
    }

    /// Opens a volume of `create_reopenable` again.
    #[staticmethod]
    #[pyo3(signature = (path, volume_file, keyring, *, read_only=false))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        volume_file: &Bound<'_, PyAny>,
        keyring: &Keyring,
        read_only: bool,
    ) -> PyResult<Self> {
        guard(|| {
            let file = bytes_of(py, volume_file, "volume_file")?;
            let volume = blocking(py, || {
                let room = open_path(&path, access(read_only))?;
                cmkit_scratch::Volume::open(room, &file, keyring.core())
            })?;
            Ok(Self::of(Arc::new(volume)))
        })
    }

    /// Opens a volume in XTS mode with a key that the caller has.
    #[staticmethod]
    #[pyo3(signature = (path, key, *, size=None, sector_size=4096, iv_offset=0, read_only=false))]
    fn open_with_key(
        py: Python<'_>,
        path: PathBuf,
        key: &Bound<'_, PyAny>,
        size: Option<u64>,
        sector_size: u32,
        iv_offset: u64,
        read_only: bool,
    ) -> PyResult<Self> {
        guard(|| {
            let key = Zeroizing::new(bytes_of(py, key, "key")?.to_vec());
            let volume = blocking(py, || {
                let sector_size = SectorSize::from_bytes(sector_size)?;
                let key = XtsKey::from_bytes(&key, sector_size, iv_offset)?;
                let room = open_path(&path, access(read_only))?;
                let size = size.unwrap_or(room.len());
                cmkit_scratch::Volume::open_with(room, key, size)
            })?;
            Ok(Self::of(Arc::new(volume)))
        })
    }

    /// Bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    /// Bytes in a block, or in a sector.
    #[getter]
    fn block_size(&self) -> PyResult<u32> {
        guard(|| Ok(self.block_size))
    }

    /// Its name in records: 32 hex digits.
    #[getter]
    fn id(&self) -> PyResult<&str> {
        guard(|| Ok(self.id.as_str()))
    }

    /// "ephemeral" or "xts".
    #[getter]
    fn mode(&self, py: Python<'_>) -> PyResult<&'static str> {
        guard(|| Ok(self.inner(py)?.mode().name()))
    }

    /// The ids of the keys that wrap its DEK.
    #[getter]
    fn key_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| {
            let ids = self.inner(py)?.key_ids();
            PyTuple::new(py, ids.iter().map(|id| id.as_str()))
        })
    }

    /// Something to be told to whoever made it.
    #[getter]
    fn warning(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        guard(|| Ok(self.inner(py)?.warning()))
    }

    /// Whether its key was destroyed.
    #[getter]
    fn is_destroyed(&self, py: Python<'_>) -> PyResult<bool> {
        guard(|| {
            self.inner.here(py)?;
            Ok(self.get(py)?.is_none_or(|volume| volume.is_destroyed()))
        })
    }

    /// So many bytes from an offset on.
    fn read_at<'py>(
        &self,
        py: Python<'py>,
        offset: u64,
        size: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let volume = self.inner(py)?;
            self.check_range(py, offset, size)?;
            new_bytes(py, size, |out| {
                read(py, &volume, offset, out)?;
                Ok(size)
            })
        })
    }

    /// Fills a writable buffer from an offset on.
    fn readinto_at(&self, py: Python<'_>, offset: u64, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let mut out = Output::of(buffer, "buffer", Items::Any)?;
            let done = self.inner(py).and_then(|volume| {
                self.check_range(py, offset, out.len())?;
                read(py, &volume, offset, out.bytes())
            });
            if done.is_err() {
                out.bytes().fill(0);
            }
            done
        })
    }

    /// Writes all of the data at an offset.
    #[pyo3(signature = (offset, data, *, durable=false))]
    fn write_at(
        &self,
        py: Python<'_>,
        offset: u64,
        data: &Bound<'_, PyAny>,
        durable: bool,
    ) -> PyResult<()> {
        guard(|| {
            let volume = self.inner(py)?;
            let data = Input::of(data, "data")?;
            self.check_range(py, offset, data.len())?;
            write(py, &volume, offset, &data)?;
            if durable {
                blocking(py, || volume.flush())?;
            }
            Ok(())
        })
    }

    /// Makes a range read as zeros.
    #[pyo3(signature = (offset, size, *, durable=false, keep_room=false))]
    fn zeroes(
        &self,
        py: Python<'_>,
        offset: u64,
        size: u64,
        durable: bool,
        keep_room: bool,
    ) -> PyResult<()> {
        guard(|| {
            let volume = self.inner(py)?;
            let zeroes = if keep_room {
                Zeroes::KeepRoom
            } else {
                Zeroes::MayPunch
            };
            let durability = if durable {
                Durability::Durable
            } else {
                Durability::Cached
            };
            blocking(py, || volume.write_zeroes(offset, size, zeroes, durability))
        })
    }

    /// Says that the content of a range is of no use any more.
    fn discard(&self, py: Python<'_>, offset: u64, size: u64) -> PyResult<()> {
        guard(|| {
            let volume = self.inner(py)?;
            blocking(py, || volume.discard(offset, size))
        })
    }

    /// Has what was written reach the medium.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            let volume = self.inner(py)?;
            blocking(py, || volume.flush())
        })
    }

    /// What lies in a range.
    #[pyo3(signature = (offset=0, size=None))]
    fn extents<'py>(
        &self,
        py: Python<'py>,
        offset: u64,
        size: Option<u64>,
    ) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let volume = self.inner(py)?;
            let size = size.unwrap_or(self.size.saturating_sub(offset));
            let mut found = Vec::new();
            blocking(py, || {
                let mut at = offset;
                volume.extents(offset, size, &mut |extent| {
                    found.push((at, extent.len, extent.kind));
                    at += extent.len;
                    true
                })
            })?;
            let class = py.import("cmkit._types")?.getattr("Extent")?;
            let extents = found.into_iter().map(|(at, len, kind)| {
                let kind = match kind {
                    ExtentKind::Data => "data",
                    ExtentKind::Zero => "zero",
                };
                class.call1((at, len, kind))
            });
            PyList::new(py, extents.collect::<PyResult<Vec<_>>>()?)
        })
    }

    /// What was done so far.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let volume = self.inner(py)?;
            let stats = blocking(py, || Ok(volume.stats()))?;
            let fields = PyDict::new(py);
            fields.set_item("reads", stats.reads)?;
            fields.set_item("bytes_read", stats.bytes_read)?;
            fields.set_item("writes", stats.writes)?;
            fields.set_item("bytes_written", stats.bytes_written)?;
            fields.set_item("bytes_discarded", stats.bytes_discarded)?;
            fields.set_item("damaged", stats.damaged)?;
            fields.set_item("failed", stats.failed)?;
            fields.set_item("poisoned_blocks", stats.poisoned_blocks)?;
            fields.set_item("metadata_bytes", stats.metadata_bytes)?;
            let class = py.import("cmkit._types")?.getattr("VolumeStats")?;
            class.call((), Some(&fields))
        })
    }

    /// That the keys still allow it.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            let volume = self.inner(py)?;
            blocking(py, || volume.check())
        })
    }

    /// An empty disk again, with a new key.
    fn reset(&self, py: Python<'_>) -> PyResult<&'static str> {
        guard(|| {
            let volume = self.inner(py)?;
            Ok(match blocking(py, || volume.reset())? {
                Punched::Yes => "given back",
                Punched::Unsupported => "unsupported",
            })
        })
    }

    /// Zeroizes the key.
    fn destroy(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            self.inner.here(py)?;
            if let Some(volume) = self.get(py)? {
                py.detach(|| volume.destroy());
            }
            Ok(())
        })
    }

    /// Zeroizes the key and lets go of the file or device.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            self.inner.here(py)?;
            self.let_go(py);
            Ok(())
        })
    }

    /// Serves it to NBD clients at a Unix socket.
    #[pyo3(signature = (socket, *, name="", max_connections=64, uid=None))]
    fn serve(
        &self,
        py: Python<'_>,
        socket: PathBuf,
        name: &str,
        max_connections: usize,
        uid: Option<u32>,
    ) -> PyResult<NbdServer> {
        guard(|| NbdServer::start(py, self.inner(py)?, socket, name, max_connections, uid))
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        guard(|| {
            slf.get().inner(slf.py())?;
            Ok(slf.clone())
        })
    }

    /// In a forked child nothing.
    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        guard(|| {
            if self.inner.is_here() {
                self.let_go(py);
            }
            Ok(())
        })
    }

    fn __repr__(&self) -> PyResult<String> {
        guard(|| Ok(format!("<cmkit.Volume id={} size={}>", self.id, self.size)))
    }
}

impl Volume {
    pub(crate) fn of(volume: Arc<cmkit_scratch::Volume>) -> Self {
        Self {
            size: volume.len(),
            block_size: volume.mode().block_bytes(),
            id: volume.id().to_owned(),
            inner: Owned::new(Mutex::new(Some(volume))),
        }
    }

    /// Closes it, where that is for this process to do.
    pub(crate) fn let_go(&self, py: Python<'_>) {
        let Ok(Some(volume)) = self.get(py) else {
            return;
        };
        // Those who serve it have it still, without its key.
        py.detach(|| volume.destroy());
        let held = self.inner.here(py).map(|inner| lock(inner).take());
        released((held.ok(), volume));
    }

    fn get(&self, py: Python<'_>) -> PyResult<Option<Arc<cmkit_scratch::Volume>>> {
        self.inner.here(py).map(|inner| lock(inner).clone())
    }

    fn inner(&self, py: Python<'_>) -> PyResult<Arc<cmkit_scratch::Volume>> {
        let volume = self.get(py)?;
        volume.ok_or_else(|| state_error(py, "this volume is closed; make or open another one"))
    }

    /// Before anything is taken from memory for it, and before a part of it is written.
    fn check_range(&self, py: Python<'_>, offset: u64, len: usize) -> PyResult<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.size => Ok(()),
            _ => {
                let problem = format!(
                    "{len} bytes at {offset} are beyond the end of the disk, which has {} bytes",
                    self.size
                );
                Err(to_python(py, invalid(problem)))
            }
        }
    }
}

fn lock(
    inner: &Mutex<Option<Arc<cmkit_scratch::Volume>>>,
) -> std::sync::MutexGuard<'_, Option<Arc<cmkit_scratch::Volume>>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn access(read_only: bool) -> Access {
    if read_only {
        Access::ReadOnly
    } else {
        Access::ReadWrite
    }
}

/// The end of the slice that begins at `from`: on a multiple of the slice's length, so that no block is written twice.
fn slice_end(from: u64, end: u64, slice_len: u64) -> u64 {
    end.min((from / slice_len + 1).saturating_mul(slice_len))
}

fn read(
    py: Python<'_>,
    volume: &cmkit_scratch::Volume,
    offset: u64,
    out: &mut [u8],
) -> PyResult<()> {
    let end = offset + out.len() as u64;
    let (mut at, mut rest) = (offset, out);
    while !rest.is_empty() {
        let next = slice_end(at, end, SLICE);
        let (slice, after) = rest.split_at_mut(usize::try_from(next - at)?);
        blocking(py, || volume.read_at(slice, at))?;
        py.check_signals()?;
        (at, rest) = (next, after);
    }
    Ok(())
}

fn write(
    py: Python<'_>,
    volume: &cmkit_scratch::Volume,
    offset: u64,
    data: &Input<'_>,
) -> PyResult<()> {
    let end = offset + data.len() as u64;
    let mut copy = Zeroizing::new(Vec::new());
    let mut at = offset;
    // Nothing at all is a request, too, and may be refused.
    loop {
        let from = usize::try_from(at - offset)?;
        let next = match data {
            Input::Shared(shared) => {
                let next = slice_end(at, end, COPIED_SLICE);
                copy.resize(usize::try_from(next - at)?, 0);
                shared.copy(py, from, &mut copy);
                blocking(py, || volume.write_from(&mut copy, at, Durability::Cached))?;
                next
            }
            fixed => {
                let next = slice_end(at, end, SLICE);
                let to = usize::try_from(next - offset)?;
                let slice = &fixed.fixed().unwrap_or_default()[from..to];
                blocking(py, || volume.write_at(slice, at, Durability::Cached))?;
                next
            }
        };
        py.check_signals()?;
        if next == end {
            return Ok(());
        }
        at = next;
    }
}
