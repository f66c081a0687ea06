//! The entries of a gzipped tar, one after the other, in constant memory.
//!
//! Headers are read here and not by `tar::Archive`, which holds long names of any length in memory, leaves padding and
//! whatever follows the end unread, and believes the size that R's `tar()` writes into headers of links (no data follows
//! those; POSIX, GNU tar, Go and Python agree).

use std::io::{self, Read};

use tar::Header;

use crate::inflate::Inflate;
use crate::limits::Limits;
use crate::pax::Records;

const BLOCK: usize = 512;

/// The most that one extended header may hold: room for attributes (ACLs, labels), which are read and dropped.
const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;

/// The input is not one whole gzipped tar within the limits.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There are no bytes at all.
    #[error("archive is empty")]
    EmptyInput,
    /// It does not begin as gzip does.
    #[error("archive is not gzip")]
    NotGzip,
    /// The gzip stream, or the tar inside it, ends too early.
    #[error("archive is cut off after {in_bytes} bytes")]
    Truncated {
        /// Bytes of input read.
        in_bytes: u64,
    },
    /// The gzip stream is damaged.
    #[error("archive is damaged gzip")]
    CorruptGzip {
        /// What the decoder said.
        #[source]
        cause: io::Error,
    },
    /// Something follows the end.
    #[error("archive goes on after the end of its {after}")]
    TrailingGarbage {
        /// What had ended: `gzip stream` or `tar`.
        after: &'static str,
    },
    /// What the gzip stream holds does not begin as tar does.
    #[error("archive is gzip, but what it holds is not tar")]
    NotTar,
    /// A tar header is wrong.
    #[error("archive has a bad tar header before byte {offset}: {reason}")]
    BadHeader {
        /// Bytes that had come out of the gzip stream.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// An extended header is too long.
    #[error("archive has a header of {size_bytes} bytes, more than {limit_bytes}")]
    HeaderTooLarge {
        /// Its length in bytes.
        size_bytes: u64,
        /// The most that is read, in bytes.
        limit_bytes: u64,
    },
    /// It expands to too much.
    #[error("archive expands to more than {limit_bytes} bytes")]
    TooLarge {
        /// The most that is allowed, in bytes.
        limit_bytes: u64,
    },
    /// It expands to too much for its size.
    #[error("archive expands more than {limit} times: {in_bytes} bytes to {out_bytes} so far")]
    RatioTooHigh {
        /// The highest ratio allowed.
        limit: u64,
        /// Bytes of input read.
        in_bytes: u64,
        /// Bytes that had come out.
        out_bytes: u64,
    },
    /// The input could not be read: not the archive's fault.
    #[error("read archive")]
    Read {
        /// What the input said.
        #[source]
        cause: io::Error,
    },
}

impl ArchiveError {
    /// Whether the archive itself is at fault, so that the publisher is told and trying again does not help.
    pub fn is_bad_archive(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Special(&'static str),
    Sparse,
    Unknown(u8),
}

/// One entry's header; names are as the archive has them.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) link_target: Vec<u8>,
    /// Bytes of content that follow, to be had from [`Archive::read`].
    pub(crate) size_bytes: u64,
    pub(crate) executable: bool,
}

pub(crate) struct Archive<R> {
    stream: Inflate<R>,
    block: [u8; BLOCK],
    /// Content of the current entry that is not read yet, and the padding after it.
    content_bytes: u64,
    padding_bytes: u64,
    begun: bool,
    max_name_bytes: u64,
}

/// Extended headers met before the entry they describe.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Records>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
    }
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(input: R, limits: &Limits) -> Result<Self, ArchiveError> {
        Ok(Self {
            stream: Inflate::new(input, limits)?,
            block: [0; BLOCK],
            content_bytes: 0,
            padding_bytes: 0,
            begun: false,
            // The name's own limit is checked where names are; this one only bounds memory. One more for the NUL.
            max_name_bytes: (limits.max_path_bytes as u64).max(4096) + 1,
        })
    }

    /// The next entry, passing over what is unread of the one before. `None` once the archive has ended as it should.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.read_header()? else {
                return if extensions.is_empty() { Ok(None) } else { Err(self.bad("it describes no entry")) };
            };
            match header.as_bytes()[156] {
                b'L' => {
                    let name = self.read_long_name(&header)?;
                    self.once(extensions.long_name.replace(name))?;
                }
                b'K' => {
                    let name = self.read_long_name(&header)?;
                    self.once(extensions.long_link.replace(name))?;
                }
                b'x' => {
                    let records = self.read_records(&header)?;
                    self.once(extensions.pax.replace(records))?;
                }
                // `git archive` writes one, holding a comment.
                b'g' => {
                    if !self.read_records(&header)?.is_harmless() {
                        return Err(self.bad("a global header renames or resizes entries"));
                    }
                }
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
    }

    /// Reads content of the current entry; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let wanted = usize::try_from(self.content_bytes).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        match self.stream.read(&mut buffer[..wanted])? {
            0 => Err(self.cut_off()),
            count => {
                self.content_bytes -= count as u64;
                Ok(count)
            }
        }
    }

    /// `None` at the end of the archive, which is then read to the end of its input.
    fn read_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let count = self.fill_block()?;
        let begins = !std::mem::replace(&mut self.begun, true);
        if count < BLOCK {
            return match count {
                _ if begins => Err(ArchiveError::NotTar),
                // No end marker: some writers leave it out, and gzip's checksum has just told that nothing is missing.
                0 => Ok(None),
                _ => Err(self.cut_off()),
            };
        }
        if self.block == [0; BLOCK] {
            self.expect_zeros()?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&self.block).clone();
        // The checksum counts its own field as spaces (POSIX.1-2017, pax, "ustar Interchange Format").
        let sum = self
            .block
            .iter()
            .enumerate()
            .fold(0, |sum, (at, byte)| sum + u32::from(if (148..156).contains(&at) { b' ' } else { *byte }));
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ if begins => Err(ArchiveError::NotTar),
            _ => Err(self.bad("its checksum is wrong")),
        }
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, ArchiveError> {
        let pax = extensions.pax.unwrap_or_default();
        let name = pax.path.or(extensions.long_name).unwrap_or_else(|| header.path_bytes().into_owned());
        let stated_link = || header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
        let link_target = pax.link_path.or(extensions.long_link).unwrap_or_else(stated_link);
        let kind = match header.as_bytes()[156] {
            _ if pax.sparse => Kind::Sparse,
            // Before POSIX a directory was a file whose name ends in a slash; GNU tar and Python still read it so.
            b'0' | b'\0' | b'7' if name.ends_with(b"/") => Kind::Directory,
            b'0' | b'\0' | b'7' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Special("character device"),
            b'4' => Kind::Special("block device"),
            b'5' => Kind::Directory,
            b'6' => Kind::Special("fifo"),
            b'S' => Kind::Sparse,
            flag => Kind::Unknown(flag),
        };
        // Links, devices and directories have no content, whatever their size says.
        let size_bytes = match header.as_bytes()[156] {
            b'1'..=b'6' => 0,
            _ => {
                let stated = self.size_of(header)?;
                match pax.size {
                    // Readers differ in which they believe.
                    Some(size) if stated != 0 && stated != size => return Err(self.bad("it states two sizes")),
                    Some(size) => size,
                    None => stated,
                }
            }
        };
        if kind == Kind::Directory && size_bytes != 0 {
            return Err(self.bad("a directory has content"));
        }
        self.begin_content(size_bytes);
        let executable = header.mode().unwrap_or(0o644) & 0o100 != 0;
        Ok(Entry { name, kind, link_target, size_bytes, executable })
    }

    fn read_long_name(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.read_extension(header, self.max_name_bytes)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn read_records(&mut self, header: &Header) -> Result<Records, ArchiveError> {
        let data = self.read_extension(header, MAX_EXTENSION_BYTES)?;
        Records::parse(&data).map_err(|reason| self.bad(reason))
    }

    fn read_extension(&mut self, header: &Header, limit_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        let size_bytes = self.size_of(header)?;
        if size_bytes > limit_bytes {
            return Err(ArchiveError::HeaderTooLarge { size_bytes, limit_bytes });
        }
        self.begin_content(size_bytes);
        let mut data = vec![0; usize::try_from(size_bytes).expect("limited above")];
        let mut filled = 0;
        while filled < data.len() {
            filled += self.read(&mut data[filled..])?;
        }
        self.skip_content()?;
        Ok(data)
    }

    fn size_of(&self, header: &Header) -> Result<u64, ArchiveError> {
        let field = &header.as_bytes()[124..136];
        // Base 256: the crate keeps the lowest 8 bytes and drops the sign, others do not.
        if field[0] & 0x80 != 0 && (field[0] != 0x80 || field[1..5].iter().any(|byte| *byte != 0)) {
            return Err(self.bad("its size is negative or beyond all measure"));
        }
        header.entry_size().map_err(|_| self.bad("its size is not a number"))
    }

    fn begin_content(&mut self, size_bytes: u64) {
        self.content_bytes = size_bytes;
        self.padding_bytes = (BLOCK as u64 - size_bytes % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_content(&mut self) -> Result<(), ArchiveError> {
        let mut scratch = [0; 16 * 1024];
        while self.read(&mut scratch)? != 0 {}
        self.content_bytes = std::mem::take(&mut self.padding_bytes);
        while self.read(&mut scratch)? != 0 {}
        Ok(())
    }

    /// Reads one block, or less at the end of the stream.
    fn fill_block(&mut self) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.stream.read(&mut self.block[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// After the end marker writers fill up to their record size with zeros. Anything else would be seen by readers that
    /// go on (`tar --ignore-zeros`) and missed by others.
    fn expect_zeros(&mut self) -> Result<(), ArchiveError> {
        let mut scratch = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut scratch)? {
                0 => return Ok(()),
                count if scratch[..count].iter().all(|byte| *byte == 0) => {}
                _ => return Err(ArchiveError::TrailingGarbage { after: "tar" }),
            }
        }
    }

    fn once<T>(&self, before: Option<T>) -> Result<(), ArchiveError> {
        if before.is_none() { Ok(()) } else { Err(self.bad("an extended header is repeated")) }
    }

    fn bad(&self, reason: &'static str) -> ArchiveError {
        ArchiveError::BadHeader { offset: self.stream.out_bytes(), reason }
    }

    fn cut_off(&self) -> ArchiveError {
        ArchiveError::Truncated { in_bytes: self.stream.in_bytes() }
    }
}
