//! Standard output and memory of the process.

use std::io::{self, ErrorKind, Write};

/// Writes text to standard output and flushes it. A reader that has closed the pipe is not an error.
///
/// `println!` panics in that case, for example in `console reconcile | head`.
///
/// # Errors
/// Returns an error if standard output cannot be written for another reason, such as a full disk.
pub fn write_stdout(text: &str) -> io::Result<()> {
    write_all(io::stdout().lock(), text)
}

fn write_all(mut output: impl Write, text: &str) -> io::Result<()> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Makes the allocator return large buffers to the system when they are freed. Call it once, at start.
///
/// glibc maps a large buffer separately and unmaps it when it is freed. After the first such release, it
/// raises its threshold to that size and takes the next buffer from the heap (dynamic threshold,
/// mallopt(3)). There, zeroed memory is written even if it is never used, and holes remain. Each broken
/// consumer connection would leave 8 MiB behind. A threshold that is set explicitly does not change.
pub fn fix_mmap_threshold() {
    #[cfg(target_env = "gnu")]
    {
        /// In bytes. Only the two buffers of a consumer connection are larger, 4 MiB each.
        const MMAP_THRESHOLD: std::ffi::c_int = 1024 * 1024;

        // SAFETY: mallopt sets one number of the allocator, and takes the allocator's own lock.
        #[expect(unsafe_code, reason = "the standard library does not offer this setting")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind, Write};

    use super::write_all;

    /// Fails each write in one way.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn closed_pipe_is_not_an_error() {
        assert!(write_all(Failing(ErrorKind::BrokenPipe), "text").is_ok());
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(write_all(writer, "text").is_ok());
    }

    #[test]
    fn full_disk_is_an_error() {
        let error = write_all(Failing(ErrorKind::StorageFull), "text").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
