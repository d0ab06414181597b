//! `cmkit.XtsKey`: sectors as dm-crypt's `aes-xts-plain64` has them, in place and without I/O.

use std::sync::Arc;

use cmkit::{SectorSize, VolumeLayout};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use zeroize::Zeroizing;

use crate::block_key::in_slices;
use crate::buffer::InPlace;
use crate::error::{blocking, guard, to_python};
use crate::owned::Owned;
use crate::provider::bytes_of;

/// Bytes under one key at most.
const MAX_BYTES: u64 = 1 << 48;

/// A key for the sectors of one volume.
#[pyclass(frozen, module = "cmkit", name = "XtsKey")]
pub(crate) struct XtsKey {
    inner: Owned<Arc<cmkit::XtsKey>>,
}

#[pymethods]
impl XtsKey {
    #[new]
    #[pyo3(signature = (key, sector_size=4096, iv_offset=0))]
    fn new(
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        sector_size: u32,
        iv_offset: u64,
    ) -> PyResult<Self> {
        guard(|| {
            let key = Zeroizing::new(bytes_of(py, key, "key")?);
            SectorSize::from_bytes(sector_size)
                .and_then(|size| cmkit::XtsKey::from_bytes(&key, size, iv_offset))
                .map(Self::of)
                .map_err(|e| to_python(py, e))
        })
    }

    /// A key from the system's generator, which goes with the process.
    #[staticmethod]
    #[pyo3(signature = (sector_size=4096))]
    fn random(py: Python<'_>, sector_size: u32) -> PyResult<Self> {
        guard(|| {
            SectorSize::from_bytes(sector_size)
                .and_then(cmkit::XtsKey::random)
                .map(Self::of)
                .map_err(|e| to_python(py, e))
        })
    }

    /// Bytes in a sector.
    #[getter]
    fn sector_size(&self, py: Python<'_>) -> PyResult<u32> {
        guard(|| Ok(self.inner.here(py)?.sector_size().bytes()))
    }

    /// The ids of the keys that wrap its DEK.
    #[getter]
    fn key_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| {
            let ids = self.inner.here(py)?.key_ids();
            PyTuple::new(py, ids.iter().map(|id| id.as_str()))
        })
    }

    /// The id of its DEK: 32 hex digits.
    #[getter]
    fn dek_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        guard(|| Ok(self.inner.here(py)?.dek_id().map(|id| id.to_string())))
    }

    /// Whether it was destroyed.
    #[getter]
    fn is_destroyed(&self, py: Python<'_>) -> PyResult<bool> {
        guard(|| Ok(self.inner.here(py)?.is_destroyed()))
    }

    /// That it may be used.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            let key = self.inner.here(py)?;
            blocking(py, || key.check())
        })
    }

    /// Encrypts whole sectors in place.
    fn encrypt_sectors(
        &self,
        py: Python<'_>,
        offset: u64,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        guard(|| self.work(py, offset, data, cmkit::XtsKey::encrypt_sectors))
    }

    /// Decrypts whole sectors in place.
    fn decrypt_sectors(
        &self,
        py: Python<'_>,
        offset: u64,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        guard(|| self.work(py, offset, data, cmkit::XtsKey::decrypt_sectors))
    }

    /// The 64 bytes that a kernel takes.
    fn kernel_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let inner = self.inner.here(py)?;
            let key = blocking(py, || inner.kernel_key())?;
            Ok(PyBytes::new(py, key.expose()))
        })
    }

    /// Zeroizes the key for good.
    fn destroy(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            let key = self.inner.here(py)?;
            py.detach(|| key.destroy());
            Ok(())
        })
    }

    fn __repr__(&self) -> PyResult<&'static str> {
        guard(|| Ok("<cmkit.XtsKey>"))
    }
}

impl XtsKey {
    pub(crate) fn of(key: cmkit::XtsKey) -> Self {
        Self {
            inner: Owned::new(Arc::new(key)),
        }
    }

    fn work(
        &self,
        py: Python<'_>,
        offset: u64,
        data: &Bound<'_, PyAny>,
        work: fn(&cmkit::XtsKey, u64, &mut [u8]) -> cmkit::Result<()>,
    ) -> PyResult<()> {
        let key = self.inner.here(py)?;
        let mut data = InPlace::of(data, "data")?;
        check(py, key, offset, data.len())?;
        let mut done = 0;
        let worked = in_slices(py, &mut data, |at, slice| {
            work(key, offset + at as u64, slice)?;
            done = at + slice.len();
            Ok(())
        });
        if worked.is_err() && done > 0 {
            // Half of it is the one and half of it the other.
            data.clear(py);
        }
        worked
    }
}

/// What the core says of all of it, before a part of it is done.
fn check(py: Python<'_>, key: &cmkit::XtsKey, offset: u64, len: usize) -> PyResult<()> {
    let sector = u64::from(key.sector_size().bytes());
    let len = len as u64;
    let problem = if !offset.is_multiple_of(sector) || !len.is_multiple_of(sector) {
        format!("{len} bytes at {offset} aren't whole sectors of {sector} bytes")
    } else if offset.checked_add(len).is_none_or(|end| end > MAX_BYTES) {
        "a volume in XTS mode has at most 256 TiB (2^48 bytes) under one key (IEEE 1619); split it"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(to_python(py, cmkit::Error::InvalidArgument { problem }))
}

/// As the dataclass `cmkit.VolumeLayout`.
pub(crate) fn layout_of<'py>(
    py: Python<'py>,
    layout: &VolumeLayout,
) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("cmkit._types")?.getattr("VolumeLayout")?;
    class.call1((layout.len, layout.sector_size.bytes(), layout.iv_offset))
}
