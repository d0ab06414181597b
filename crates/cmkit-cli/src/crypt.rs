//! `cmkit encrypt` and `cmkit decrypt`.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cmkit::{
    AtomicFile, EncryptionContext, Error, ErrorKind, FileOptions, HeaderPadding, Keyring,
    Overwrite, Progress, StreamOptions,
};

use crate::args::{Common, Decrypt, Encrypt};
use crate::discreet::{is_discreet, shown};
use crate::failure::{Doing, Failure, Result};
use crate::keyrings::Keyrings;
use crate::keys::Home;
use crate::pipe::{self, End, Interruptible};
use crate::place::{Input, Output, cannot};
use crate::progress::Bar;
use crate::signals::Signals;
use crate::text::printable;

/// `cmkit encrypt`
pub(crate) fn encrypt(args: Encrypt, home: Home, signals: &Signals) -> Result {
    let keys = Keyrings::new(home, args.vault, args.audit)?;
    let job = Job::new(Doing::Encrypt, &args.common, &keys, signals)?;
    let (input, output) = places(args.input, args.output, &args.common, Doing::Encrypt)?;
    let keyring = keys.encrypting(&args.key, args.common.workspace.as_deref())?;
    job.encrypt(&keyring, input, output)
}

/// `cmkit decrypt`
pub(crate) fn decrypt(args: Decrypt, home: Home, signals: &Signals) -> Result {
    let keys = Keyrings::new(home, args.vault, args.audit)?;
    let job = Job::new(Doing::Decrypt, &args.common, &keys, signals)?;
    let (input, output) = places(args.input, args.output, &args.common, Doing::Decrypt)?;
    let keyring = keys.opening(&args.key, None, args.common.workspace.as_deref())?;
    job.decrypt(&keyring, input, output)
}

fn places(
    input: Option<PathBuf>,
    output: Option<PathBuf>,
    common: &Common,
    doing: Doing,
) -> Result<(Input, Output)> {
    let input = Input::open(input)?;
    let output = Output::open(output, &input, common.force, doing)?;
    Ok((input, output))
}

struct Job<'a> {
    doing: Doing,
    context: EncryptionContext,
    overwrite: Overwrite,
    quiet: bool,
    keys: &'a Keyrings,
    signals: &'a Signals,
}

impl<'a> Job<'a> {
    fn new(
        doing: Doing,
        common: &Common,
        keys: &'a Keyrings,
        signals: &'a Signals,
    ) -> Result<Self> {
        let pairs = common.context.iter().map(|(key, value)| (key, value));
        Ok(Self {
            doing,
            context: EncryptionContext::new(pairs).map_err(|e| {
                if is_discreet() {
                    // The core's sentence may quote a key of it.
                    return Failure::usage(
                        "the encryption context is too long, or has a key twice",
                    );
                }
                Failure::of(&e, doing)
            })?,
            overwrite: if common.force {
                Overwrite::Replace
            } else {
                Overwrite::Refuse
            },
            quiet: common.quiet,
            keys,
            signals,
        })
    }

    fn encrypt(&self, keyring: &Keyring, input: Input, output: Output) -> Result {
        let names = Names::of(&input, &output);
        match (input, output) {
            (Input::File(source), Output::File(destination)) => {
                let _held = self.signals.hold();
                let options = self.file_options(&source);
                let done = keyring.encrypt_file(&source, &destination, &self.context, &options);
                done.map(drop).map_err(|e| self.failed(&e))
            }
            (input, Output::File(destination)) => {
                let _held = self.signals.hold();
                let file = self.begin(&destination)?;
                let file = self.seal(keyring, source(input)?, file, &names)?;
                self.commit(file)
            }
            (input, output) => self
                .seal(keyring, source(input)?, sink(output)?, &names)
                .map(drop),
        }
    }

    fn decrypt(&self, keyring: &Keyring, input: Input, output: Output) -> Result {
        let names = Names::of(&input, &output);
        match (input, output) {
            (Input::File(source), Output::File(destination)) => {
                let _held = self.signals.hold();
                let options = self.file_options(&source);
                let done = keyring.decrypt_file(&source, &destination, &self.context, &options);
                done.map(drop).map_err(|e| self.failed(&e))
            }
            // Its length is authenticated before the first byte goes out.
            (Input::File(source), output) => {
                let reader = keyring.open_file(&source, &self.context);
                let mut reader = reader.map_err(|e| self.failed(&e))?;
                pipe::copy(&mut reader, &mut sink(output)?)
                    .map(drop)
                    .map_err(|(end, done)| self.broken_release(end, done, &names))
            }
            (input, Output::File(destination)) => {
                let _held = self.signals.hold();
                let mut file = self.begin(&destination)?;
                let mut plaintext = self.open(keyring, source(input)?, &names)?;
                pipe::copy(&mut plaintext, &mut file)
                    .map_err(|(end, _)| self.broken(end, &names))?;
                self.commit(file)
            }
            (input, output) => {
                let mut plaintext = self.open(keyring, source(input)?, &names)?;
                pipe::copy(&mut plaintext, &mut sink(output)?)
                    .map(drop)
                    .map_err(|(end, done)| self.broken_release(end, done, &names))
            }
        }
    }

    fn file_options(&self, source: &Path) -> FileOptions {
        let name = source.file_name().unwrap_or_default();
        let bar = Bar::new(printable(&shown(Path::new(name))), self.quiet);
        let signals = self.signals.clone();
        FileOptions::default()
            .overwrite(self.overwrite)
            .on_progress(move |progress: Progress| {
                bar.at(progress.done, progress.total);
                if signals.stop_asked() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
    }

    fn begin(&self, destination: &Path) -> Result<AtomicFile> {
        AtomicFile::create(destination, self.overwrite).map_err(|e| self.failed(&e))
    }

    fn commit(&self, file: AtomicFile) -> Result {
        self.signals.check()?;
        file.commit(None).map_err(|e| self.failed(&e))
    }

    fn seal<W: Write>(&self, keyring: &Keyring, from: File, to: W, names: &Names) -> Result<W> {
        // Room for a rewrap in place, wherever the pipe leads.
        let options = StreamOptions::default().padded_header(HeaderPadding::FileBlock);
        let at_end = |e: Error| match e.kind() {
            ErrorKind::Io => self.failed(&e.in_file(&names.to)),
            _ => self.failed(&e),
        };
        let mut encryptor = keyring
            .encryptor_with(to, &self.context, options)
            .map_err(at_end)?;
        let mut from = Interruptible::new(from, self.signals);
        pipe::copy(&mut from, &mut encryptor).map_err(|(end, _)| self.broken(end, names))?;
        encryptor.finish().map_err(at_end)
    }

    fn open(&self, keyring: &Keyring, from: File, names: &Names) -> Result<impl Read> {
        let from = Interruptible::new(from, self.signals);
        let decryptor = keyring.decryptor(from, &self.context);
        decryptor.map_err(|e| self.failed(&e.in_file(&names.from)))
    }

    fn broken(&self, end: End, names: &Names) -> Failure {
        self.failed(&match end {
            End::Reading(e) => cmkit::error_from_io(e).in_file(&names.from),
            End::Writing(e) => cmkit::error_from_io(e).in_file(&names.to),
        })
    }

    /// The same, when what came before the fault was given away already.
    fn broken_release(&self, end: End, done: u64, names: &Names) -> Failure {
        match end {
            End::Reading(e) if done > 0 => {
                let error = cmkit::error_from_io(e).in_file(&names.from);
                Failure::after_release(&error, done, &names.to)
            }
            end => self.broken(end, names),
        }
    }

    /// The failure; where a signal is the reason, that.
    fn failed(&self, error: &Error) -> Failure {
        match self.signals.check() {
            Err(signal) if error.kind() == ErrorKind::Cancelled => signal,
            _ => self.keys.failure(error, self.doing),
        }
    }
}

/// What messages call the two ends.
struct Names {
    from: PathBuf,
    to: PathBuf,
}

impl Names {
    fn of(input: &Input, output: &Output) -> Self {
        Self {
            from: input.name().to_owned(),
            to: output.name().to_owned(),
        }
    }
}

fn source(input: Input) -> Result<File> {
    match input {
        Input::Stdin => pipe::stdin().map_err(|e| cannot("read", Path::new("standard input"), &e)),
        Input::File(path) => File::open(&path).map_err(|e| cannot("open", &path, &e)),
        Input::Stream(_, file) => Ok(file),
    }
}

fn sink(output: Output) -> Result<File> {
    match output {
        Output::Stdout => pipe::stdout()
            .map(pipe::widened)
            .map_err(|e| cannot("write", Path::new("standard output"), &e)),
        Output::Stream(_, file) => Ok(pipe::widened(file)),
        Output::File(path) => Err(Failure::other(format!("{} is no stream", shown(&path)))),
    }
}
