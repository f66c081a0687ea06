//! Git-managed content: what names a version in a repository, how it is asked for, and when it is looked at again. Pure.
//!
//! Lectern speaks git's own protocol (version 0, over HTTP) as far as getting one commit takes: the list of references, and
//! a pack of that commit without its history. What a pack holds is for git itself to read, behind walls and without a network.

mod advertisement;
mod answer;
mod commit;
mod listing;
mod location;
mod packet;
mod polling;

pub use advertisement::{Advertisement, BadAdvertisement, Named, Wanted};
pub use answer::{Answer, BadAnswer};
pub use commit::Commit;
pub use listing::{BadListing, Listing};
pub use location::{BadLocation, Branch, Directory};
pub use packet::BadPacket;
pub use polling::{Decision, after_poll, decide};

/// What a request for one commit says; see [`Advertisement::request`].
pub const REQUEST_TYPE: &str = "application/x-git-upload-pack-request";
/// The form of the list of references.
pub const ADVERTISEMENT_TYPE: &str = "application/x-git-upload-pack-advertisement";
/// The form of the answer to a request.
pub const ANSWER_TYPE: &str = "application/x-git-upload-pack-result";
