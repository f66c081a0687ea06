//! How much an archive may ask for.

/// What unpacking accepts. [`Limits::default`] gives numbers and reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files, links and directories together, also directories that have no entry of their own.
    pub max_entries: u64,
    /// Bytes that come out of the gzip stream, tar headers and padding included.
    pub max_total_bytes: u64,
    /// Bytes of one file.
    pub max_file_bytes: u64,
    /// Bytes out for each byte in, once more than `ratio_from_bytes` have come out.
    pub max_ratio: u64,
    /// Bytes out from which on `max_ratio` counts.
    pub ratio_from_bytes: u64,
    /// Bytes of a path inside the archive. With the directory it is unpacked to it must also fit the 4,095 bytes that
    /// Linux opens, or no program could read the file by its name.
    pub max_path_bytes: usize,
    /// Names in a path.
    pub max_depth: usize,
}

impl Default for Limits {
    /// The limits where the operator sets no others.
    fn default() -> Self {
        Self {
            // A front end with its node_modules has some 50,000. Each costs an inode and half a dozen file operations.
            max_entries: 100_000,
            // Models and data of several GiB are published; the largest file plus as much again.
            max_total_bytes: 16 << 30,
            // What a plain tar header can say; R's and Python's writers stop or change format here.
            max_file_bytes: 8 << 30,
            // Tables and logs in text reach 20 to 50, deflate's own end is 1,032. A small upload then costs at most a
            // small disk: 16 GiB take 80 MiB of upload.
            max_ratio: 200,
            // Small archives of one repeated value are honest and harmless.
            ratio_from_bytes: 64 << 20,
            max_path_bytes: 4095,
            // Trees are removed recursively with one open directory per level; a process may have only 1,024 open.
            // node_modules nests to about 40.
            max_depth: 128,
        }
    }
}
