//! Memory that was freed goes back to the system.

/// To be called once, before anything large is allocated.
///
/// glibc maps what is large on its own, and gives it back when it is freed. But once something of a size was
/// freed, it takes the next of that size from its heap (the dynamic threshold of mallopt(3)), where memory that
/// has to be zeros is written, used or not, and holes stay. So each connection to consume would leave 8 MiB when
/// it breaks. A threshold that was set stays as it is.
pub fn fix_mmap_threshold() {
    #[cfg(target_env = "gnu")]
    {
        /// In bytes. The buffers of a connection to consume are larger, 4 MiB each; nothing else is.
        const MAPPED_ALONE: std::ffi::c_int = 1024 * 1024;

        // SAFETY: it sets a number in the allocator, under the allocator's own lock.
        #[expect(unsafe_code, reason = "the C library has no other way in")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_ALONE);
        }
    }
}
