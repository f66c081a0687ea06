//! Bundles on a shared file system, and what is safe to make of them on the local disk.
//!
//! Everything here blocks: callers in an async program use blocking threads. Nothing here knows SQL, HTTP or which
//! content a bundle belongs to.
//!
//! # From upload to a running worker
//!
//! 1. [`Store::begin`] gives an [`Upload`]; its bytes are hashed while they go to a temporary file on the shared file
//!    system, and [`Upload::commit`] gives the file its name, the BLAKE3 of its bytes.
//! 2. [`inspect`] takes `manifest.json` out of an archive without unpacking it and reads the rest to its end;
//!    [`read_manifest`] stops at the manifest.
//! 3. [`Cache::fetch`] copies a bundle to the local disk and checks every byte on the way. A [`LocalBundle`] is read to
//!    answer a download and to unpack. It stays on the disk for as long as it is held.
//! 4. [`Trees::get_or_unpack`] turns the archive into a read-only directory named by the same hash. All workers of the
//!    bundle share it.
//!
//! # What is promised
//!
//! * Bytes that come out are the bytes that went in. Damage is [`FetchError::Corrupt`], which names the bundle.
//! * A bundle, a local copy or a tree is there under its name completely, or not at all, whenever the process is killed.
//!   What a killed process leaves has a temporary name: [`Store::sweep`], [`Cache::open`] and [`Trees::open`] remove it.
//! * An archive writes nothing outside the directory made for it, whatever it says. See [`unpack`] for what is refused.
//! * Memory does not grow with the bundle: uploads and fetches hold one buffer of 1 MiB, unpacking about 256 KiB and at
//!   most 1 MiB of header records.
//!
//! # File operations on the shared store
//!
//! A network file system pays for each operation, so a bundle is one file and the number of operations does not depend on
//! how many files it holds. Only reads and writes follow its length, one for each MiB. The same for bundles of 3 and of
//! 3,000 files, by [`Store::operations`] and by `strace -f -y -e trace=%file,%desc` around `examples/file_operations`:
//!
//! | step | operations, apart from reads and writes | with closes |
//! |---|---|---|
//! | publish | 6: create temporary, look for the name, sync file, rename, open directory, sync directory | 8 |
//! | publish of bytes already there | 7: create temporary, open bundle, stat, touch, remove temporary, open directory, sync directory | 10 |
//! | fetch | 1: open | 2 |
//! | fetch of a bundle in the local cache | 0 | 0 |
//!
//! `tests/file_operations.rs` holds the table true.
//!
//! # Layout
//!
//! ```text
//! <store>/<64 hexadecimal digits>     one bundle, exactly as uploaded
//! <store>/.tmp/upload-…               an upload not yet committed
//! <cache>/<64 hexadecimal digits>     a local copy, checked when it is fetched
//! <trees>/<64 hexadecimal digits>/    an unpacked bundle: directories 0555, files 0444 or 0555
//! ```
//!
//! There is no fan-out into sub-directories: a name is looked up by hash (indexed on ext4, XFS and EFS), only
//! collection lists the directory, and a second level would add a directory to create and sync to each publish.

mod archive;
mod cache;
mod copy;
mod entry_name;
mod inflate;
mod keyed;
mod limits;
mod links;
mod manifest;
mod pax;
mod repack;
mod seal;
mod share;
mod store;
mod trees;
mod unpack;
mod unpack_error;
mod upload;
mod writer;

pub use archive::ArchiveError;
pub use cache::{Cache, DEFAULT_CACHE_BYTES, LocalBundle};
pub use copy::FetchError;
pub use limits::Limits;
pub use manifest::{MAX_MANIFEST_BYTES, ManifestError, inspect, read_manifest};
pub use repack::repack;
pub use share::Operations;
pub use store::{Store, StoreError, StoredBundle, Swept};
pub use trees::{TreeError, Trees};
pub use unpack::{Unpacked, unpack};
pub use unpack_error::UnpackError;
pub use upload::{Stored, Upload};
