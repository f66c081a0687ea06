//! What a worker is to be, read and put on by the worker itself: the zygote never sees it.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use nix::libc;

use crate::title;

/// Most bytes of orders: the kernel takes at most 2 MiB of arguments and environment of a start.
const MOST_BYTES: u64 = 4 << 20;

pub(crate) struct Orders {
    pub(crate) directory: PathBuf,
    pub(crate) home: PathBuf,
    arguments: Vec<Vec<u8>>,
    variables: Vec<CString>,
}

impl Orders {
    pub(crate) fn read(file: &mut File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Self::parse(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut texts = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0);
        let mut path = || Some(PathBuf::from(OsStr::from_bytes(texts.next()?)));
        let (directory, home) = (path()?, path()?);
        let count: usize = std::str::from_utf8(texts.next()?).ok()?.parse().ok()?;
        let arguments: Vec<Vec<u8>> = texts.by_ref().take(count).map(<[u8]>::to_vec).collect();
        let variables = texts.map(CString::new).collect::<Result<_, _>>().ok()?;
        Some(Self { directory, home, arguments, variables })
    }

    /// Makes the home, goes to the directory, and sets the variables; arguments are in `LECTERN_ARGUMENTS`, with the
    /// separator 0x1f between them, and the number of the descriptor that tells readiness in `LECTERN_READY_FD`.
    pub(crate) fn put_on(&self, ready: i32) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.home)?;
        std::env::set_current_dir(&self.directory)?;
        // Over those that the interpreter has set itself since it began, as R's own script does: they are part of its start.
        for variable in &self.variables {
            let bytes = variable.as_bytes();
            let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
            set(&bytes[..at], bytes.get(at + 1..).unwrap_or_default())?;
        }
        // What stands behind the program that the interpreter would have been started with.
        let behind = self.arguments.iter().position(|argument| argument == b"--args").map_or(2, |at| at + 1);
        title::show(self.arguments.get(behind..).unwrap_or_default());
        set(b"LECTERN_ARGUMENTS", &self.arguments.join(&0x1f))?;
        set(b"LECTERN_READY_FD", ready.to_string().as_bytes())
    }
}

fn set(name: &[u8], value: &[u8]) -> io::Result<()> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    let (name, value) = (text(name)?, text(value)?);
    let (name, value): (&CStr, &CStr) = (&name, &value);
    // SAFETY: both end with a zero byte and are copied; this is the only thread.
    if unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
