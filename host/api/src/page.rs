//! Pages of a listing, counted by number: `page_number` from 1, `page_size` at most [`MAX`].

use serde::Deserialize;
use utoipa::IntoParams;

/// Most entries on one page; clients ask for 500.
pub(crate) const MAX: i64 = 500;

/// Which page.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Counts from 1.
    page_number: Option<i64>,
    /// At most 500.
    page_size: Option<i64>,
}

/// A page as the database is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its number.
    pub(crate) number: i64,
    /// Entries before it.
    pub(crate) offset: i64,
    /// Entries on it.
    pub(crate) size: i64,
}

/// Brings what was asked for into its bounds.
pub(crate) fn bounded(number: Option<i64>, size: Option<i64>) -> Page {
    let number = number.unwrap_or(1).max(1);
    let size = size.unwrap_or(MAX).clamp(1, MAX);
    Page { number, offset: (number - 1).saturating_mul(size), size }
}

impl PageQuery {
    pub(crate) fn bounded(self) -> Page {
        bounded(self.page_number, self.page_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        for ((number, size), expected) in [
            ((None, None), (1, 0, 500)),
            ((Some(3), Some(10)), (3, 20, 10)),
            ((Some(0), Some(0)), (1, 0, 1)),
            ((Some(-7), Some(1_000_000)), (1, 0, 500)),
            ((Some(i64::MAX), None), (i64::MAX, i64::MAX, 500)),
        ] {
            let page = bounded(number, size);
            assert_eq!((page.number, page.offset, page.size), expected, "{number:?} {size:?}");
        }
    }
}
