//! Files into files, with signals and a progress callback.

use std::ops::ControlFlow;
use std::path::PathBuf;

use cmkit::{EncryptionContext, FileOptions, Overwrite};
use pyo3::prelude::*;

use crate::arguments::Context;
use crate::error::blocking;
use crate::raised;

/// What to do with which files.
pub(crate) struct Job {
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) overwrite: bool,
    pub(crate) progress: Option<Py<PyAny>>,
}

impl Job {
    pub(crate) fn run(
        mut self,
        py: Python<'_>,
        context: Option<&Bound<'_, PyAny>>,
        work: impl FnOnce(&Job, &EncryptionContext, &FileOptions) -> cmkit::Result<u64> + Send,
    ) -> PyResult<u64> {
        let context = Context::of(context)?;
        let overwrite = if self.overwrite {
            Overwrite::Replace
        } else {
            Overwrite::Refuse
        };
        let progress = self.progress.take();
        let options = FileOptions::default()
            .overwrite(overwrite)
            .on_progress(move |at| {
                let told = Python::try_attach(|py| {
                    // Here Ctrl-C is seen. Called on the thread that called us, or it would not be.
                    py.check_signals()?;
                    if let Some(progress) = &progress {
                        progress.bind(py).call1((at.done, at.total))?;
                    }
                    Ok(())
                });
                match told {
                    Some(Ok(())) => ControlFlow::Continue(()),
                    Some(Err(e)) => {
                        raised::keep(e);
                        ControlFlow::Break(())
                    }
                    None => ControlFlow::Break(()),
                }
            });
        blocking(py, || work(&self, &context, &options))
    }
}
