//! Output that waits in a file until a command has read all letters.
//!
//! A terminal or a pager may read slowly, and a command holds the letters until it has read them. The file also bounds the
//! memory, whatever the number of letters.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, IntoInnerError, Seek, Write},
};

use serde::Serialize;
use service_kit::write_stdout;

/// The size of the parts that are written to standard output.
const PART: usize = 64 * 1024;

/// The text of a command. The file has no name, so it is gone when the process ends.
pub(super) struct Spool(BufWriter<File>);

impl Spool {
    /// Creates an empty text.
    ///
    /// # Errors
    /// Returns an error if no temporary file can be created.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(BufWriter::new(tempfile::tempfile()?)))
    }

    /// Adds a value as one line of JSON.
    ///
    /// # Errors
    /// Returns an error if the disk is full.
    pub(super) fn add_line(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.0, value)?;
        Ok(self.0.write_all(b"\n")?)
    }

    /// Adds a value as a JSON document on several lines.
    ///
    /// # Errors
    /// Returns an error if the disk is full.
    pub(super) fn add_document(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut self.0, value)?;
        Ok(self.0.write_all(b"\n")?)
    }

    /// Prints the text.
    ///
    /// # Errors
    /// Returns an error if standard output cannot be written, unless its reader has closed it.
    pub(super) fn print(self) -> anyhow::Result<()> {
        let mut file = self.0.into_inner().map_err(IntoInnerError::into_error)?;
        file.rewind()?;
        let mut lines = BufReader::with_capacity(PART, file);
        let mut part = String::new();
        loop {
            let is_end = lines.read_line(&mut part)? == 0;
            if is_end || part.len() >= PART {
                write_stdout(&part)?;
                part.clear();
            }
            if is_end {
                return Ok(());
            }
        }
    }
}
