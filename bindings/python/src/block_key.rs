//! `cmkit.BlockKey`: authenticated blocks of a scratch disk, in place and without I/O.

use std::sync::Arc;

use cmkit::{BlockSeal, BlockSize};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use zeroize::Zeroizing;

use crate::buffer::{InPlace, Input};
use crate::error::{blocking, guard, to_python};
use crate::owned::Owned;
use crate::provider::bytes_of;

/// Bytes that are worked on at a time: so few that the copy stays in the cache. A multiple of every block's and sector's size.
const SLICE: usize = 1 << 20;
/// Less is done before another thread could have had the interpreter.
const RELEASED: usize = 64 << 10;

/// A key for blocks of one size.
#[pyclass(frozen, module = "cmkit", name = "BlockKey")]
pub(crate) struct BlockKey {
    inner: Owned<Arc<cmkit::BlockKey>>,
}

#[pymethods]
impl BlockKey {
    #[new]
    #[pyo3(signature = (block_size=4096))]
    fn new(py: Python<'_>, block_size: u32) -> PyResult<Self> {
        guard(|| {
            BlockSize::from_bytes(block_size)
                .and_then(cmkit::BlockKey::random)
                .map(Self::of)
                .map_err(|e| to_python(py, e))
        })
    }

    /// Bytes in a block.
    #[getter]
    fn block_size(&self, py: Python<'_>) -> PyResult<u32> {
        guard(|| Ok(self.inner.here(py)?.block_size().bytes()))
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

    /// Encrypts whole blocks in place and gives a seal for each.
    fn encrypt_blocks<'py>(
        &self,
        py: Python<'py>,
        first: u64,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let mut data = InPlace::of(data, "data")?;
            let encrypted = self.encrypt(py, first, &mut data);
            if encrypted.is_err() {
                data.clear(py);
            }
            Ok(PyBytes::new(py, &encrypted?))
        })
    }

    /// Decrypts whole blocks in place, with the seals that their encryption gave.
    fn decrypt_blocks(
        &self,
        py: Python<'_>,
        first: u64,
        data: &Bound<'_, PyAny>,
        seals: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        guard(|| {
            let mut data = InPlace::of(data, "data")?;
            let decrypted = self.decrypt(py, first, &mut data, seals);
            if decrypted.is_err() {
                data.clear(py);
            }
            decrypted
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
        guard(|| Ok("<cmkit.BlockKey>"))
    }
}

impl BlockKey {
    pub(crate) fn of(key: cmkit::BlockKey) -> Self {
        Self {
            inner: Owned::new(Arc::new(key)),
        }
    }

    fn encrypt(&self, py: Python<'_>, first: u64, data: &mut InPlace) -> PyResult<Vec<u8>> {
        let key = self.inner.here(py)?;
        let block = key.block_size().bytes() as usize;
        let blocks = data.len() / block;
        check(py, key, first, data.len(), blocks)?;
        let mut seals = Vec::with_capacity(blocks * BlockSeal::LEN);
        in_slices(py, data, |at, slice| {
            let mut new = vec![BlockSeal::UNWRITTEN; slice.len() / block];
            key.encrypt_blocks(first + (at / block) as u64, slice, &mut new)?;
            seals.extend(new.into_iter().flat_map(BlockSeal::to_bytes));
            Ok(())
        })?;
        Ok(seals)
    }

    fn decrypt(
        &self,
        py: Python<'_>,
        first: u64,
        data: &mut InPlace,
        seals: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let key = self.inner.here(py)?;
        data.check_apart(&Input::of(seals, "seals")?)?;
        let seals = bytes_of(py, seals, "seals")?;
        let (seals, rest) = seals.as_chunks::<{ BlockSeal::LEN }>();
        if !rest.is_empty() {
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "seals have {} bytes each, and these aren't whole ones",
                BlockSeal::LEN
            )));
        }
        let seals: Vec<BlockSeal> = seals.iter().map(|s| BlockSeal::from_bytes(*s)).collect();
        let block = key.block_size().bytes() as usize;
        check(py, key, first, data.len(), seals.len())?;
        in_slices(py, data, |at, slice| {
            let at = at / block;
            let seals = &seals[at..at + slice.len() / block];
            key.decrypt_blocks(first + at as u64, slice, seals)
        })
    }
}

/// What the core says of all of it, before a part of it is done: it looks at the numbers first.
fn check(
    py: Python<'_>,
    key: &cmkit::BlockKey,
    first: u64,
    len: usize,
    seals: usize,
) -> PyResult<()> {
    let block = u64::from(key.block_size().bytes());
    let problem = if (seals as u64).checked_mul(block) != Some(len as u64) {
        format!(
            "{len} bytes aren't whole blocks of {block} with a seal for each; there are {seals} seals' worth"
        )
    } else if first
        .checked_add(seals as u64)
        .is_none_or(|end| end > 1 << 48)
    {
        "a block's number is below 2^48".to_owned()
    } else {
        return Ok(());
    };
    Err(to_python(py, cmkit::Error::InvalidArgument { problem }))
}

/// Works on a copy of each slice and puts that back, with the interpreter released where it takes a while.
pub(crate) fn in_slices(
    py: Python<'_>,
    data: &mut InPlace,
    mut work: impl FnMut(usize, &mut [u8]) -> cmkit::Result<()> + Send,
) -> PyResult<()> {
    let mut copy = Zeroizing::new(vec![0; data.len().min(SLICE)]);
    let mut at = 0;
    loop {
        let len = (data.len() - at).min(SLICE);
        let slice = &mut copy[..len];
        data.copy_out(py, at, slice);
        if len < RELEASED {
            work(at, slice).map_err(|e| to_python(py, e))?;
        } else {
            blocking(py, || work(at, slice))?;
        }
        data.copy_in(py, at, slice);
        at += len;
        py.check_signals()?;
        if at == data.len() {
            return Ok(());
        }
    }
}
