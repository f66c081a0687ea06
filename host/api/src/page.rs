//! Lists in numbered pages: `page_number` from 1, `page_size` at most [`MAX`] unless a list says otherwise.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Most entries on one page; clients ask for 500.
pub(crate) const MAX: i64 = 500;

/// Which page.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Counts from 1.
    page_number: Option<i64>,
    /// Entries on a page; more than the most are cut to it.
    page_size: Option<i64>,
}

/// A page as the database is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number.
    pub(crate) number: i64,
    /// Entries before it.
    pub(crate) offset: i64,
    /// Entries on it, at most.
    pub(crate) size: i64,
}

/// Brings what was asked for into its bounds.
pub(crate) fn bounded(number: Option<i64>, size: Option<i64>, most: i64) -> Place {
    let number = number.unwrap_or(1).max(1);
    let size = size.unwrap_or(most).clamp(1, most);
    Place { number, offset: (number - 1).saturating_mul(size), size }
}

impl PageQuery {
    /// The page within its bounds: of at most `most` entries.
    pub(crate) fn place(self, most: i64) -> Place {
        bounded(self.page_number, self.page_size, most)
    }
}

/// One page. Clients take exactly these three fields.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) results: Vec<T>,
    pub(crate) current_page: i64,
    /// How many there are on all pages.
    pub(crate) total: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        for ((page_number, page_size), expected) in [
            ((None, None), (1, 0, 500)),
            ((Some(3), Some(10)), (3, 20, 10)),
            ((Some(0), Some(0)), (1, 0, 1)),
            ((Some(-7), Some(1_000_000)), (1, 0, 500)),
            ((Some(i64::MAX), None), (i64::MAX, i64::MAX, 500)),
        ] {
            let place = PageQuery { page_number, page_size }.place(MAX);
            assert_eq!((place.number, place.offset, place.size), expected, "{page_number:?} {page_size:?}");
        }
    }
}
