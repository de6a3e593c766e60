//! The directory where one checkout's system lives: held by one `up` at a time.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::leftovers;

/// The directory, held until this is dropped, even by `kill -9`.
#[derive(Debug)]
pub(crate) struct WorkDir {
    directory: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";
const ENV: &str = "stack.env";

impl WorkDir {
    /// Takes hold of the directory, and makes it if it is not there.
    pub(crate) fn lock(directory: &Path) -> Result<Self> {
        let what = || directory.display().to_string();
        fs::create_dir_all(directory).with_context(what)?;
        let directory = directory.canonicalize().with_context(what)?;
        let path = directory.join(LOCK);
        let mut lock =
            File::options().create(true).truncate(false).write(true).open(&path).with_context(what)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => bail!(
                "the system in {} is up already (process {}); stop that one with Ctrl-C, \
                 or start another with --dir and other ports",
                directory.display(),
                fs::read_to_string(&path)?.trim()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        let checkout = Self { directory, _lock: lock };
        // One that was killed may have left its own.
        checkout.remove_env()?;
        Ok(checkout)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes everything that an earlier time has left.
    pub(crate) fn clear(&self) -> Result<()> {
        for server in ["postgres", "mysql", "broker"] {
            leftovers::remove_directory(&self.directory.join(server))?;
        }
        Ok(())
    }

    /// Writes `stack.env` as a whole: whoever sees it sees all of it.
    pub(crate) fn write_env(&self, text: &str) -> Result<()> {
        let (new, path) = (self.directory.join("stack.env.new"), self.directory.join(ENV));
        fs::write(&new, text).with_context(|| new.display().to_string())?;
        fs::rename(&new, &path).with_context(|| path.display().to_string())
    }

    /// Removes `stack.env`: nothing is at those addresses any more.
    pub(crate) fn remove_env(&self) -> Result<()> {
        leftovers::remove_file(&self.directory.join(ENV))
    }
}
