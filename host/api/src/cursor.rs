//! Lists that grow while they are read: pages by cursor. A cursor is the number of an entry; the page after it, or before it,
//! stays what it is when entries are added.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, Code};
use crate::guard::Base;

/// Most entries on one page; clients ask for 500.
pub(crate) const MAX: i64 = 500;

/// The cursor beyond all entries: the page before it is the last one.
const END: &str = "end";

/// What was asked for, as it was sent.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct CursorQuery {
    /// Entries on a page, from 1; more than 500 are cut to it.
    #[param(value_type = Option<i64>)]
    pub(crate) limit: Option<String>,
    /// The page after this cursor.
    pub(crate) next: Option<String>,
    /// The page before this cursor.
    pub(crate) previous: Option<String>,
    /// Oldest first, also when absent.
    #[serde(rename = "ascOrder")]
    #[param(value_type = Option<bool>)]
    pub(crate) asc_order_camel: Option<String>,
    /// The same.
    #[param(value_type = Option<bool>)]
    pub(crate) asc_order: Option<String>,
}

/// A page as the database is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Entries on it, at most.
    pub(crate) limit: i64,
    /// Whether entries are listed with the lesser number first.
    ascending: bool,
    /// Whether the page goes on from the cursor, not back.
    onward: bool,
    /// The cursor; `None`: the list's beginning, or its end when the page goes back.
    pub(crate) from: Option<i64>,
}

impl CursorQuery {
    /// Reads the parameters. What is empty counts as absent; a limit above [`MAX`] is cut to it.
    pub(crate) fn slice(&self) -> Result<Slice, ApiError> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let bad = |text: String| ApiError::new(Code::BadParameter, text);
        let limit = match given(&self.limit) {
            None => MAX,
            Some(text) => match text.parse::<i64>() {
                Ok(limit) if limit > 0 => limit.min(MAX),
                _ => return Err(bad(format!("limit must be a number from 1 to {MAX}, not {text:?}"))),
            },
        };
        let order = |field: &Option<String>, name: &str| match given(field).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(bad(format!("{name} must be true or false, not {text:?}"))),
        };
        let (camel, snake) = (order(&self.asc_order_camel, "ascOrder")?, order(&self.asc_order, "asc_order")?);
        if camel.is_some() && snake.is_some() && camel != snake {
            return Err(bad("ascOrder and asc_order say different things".to_owned()));
        }
        let (onward, from) = match (given(&self.next), given(&self.previous)) {
            (Some(_), Some(_)) => return Err(bad("next and previous exclude each other".to_owned())),
            (None, None) => (true, None),
            (Some(text), None) => (true, Some(number(&text, "next")?)),
            (None, Some(text)) if text == END => (false, None),
            (None, Some(text)) => (false, Some(number(&text, "previous")?)),
        };
        Ok(Slice { limit, ascending: camel.or(snake).unwrap_or(true), onward, from })
    }
}

fn number(text: &str, name: &str) -> Result<i64, ApiError> {
    let refused =
        || ApiError::new(Code::BadParameter, format!("{name} is not a cursor that this server gave: {text:?}"));
    text.parse().ok().filter(|number| *number >= 0).ok_or_else(refused)
}

impl Slice {
    /// Whether the database walks to greater numbers.
    pub(crate) fn upwards(&self) -> bool {
        self.ascending == self.onward
    }
}

/// One page. Clients take exactly these two fields.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CursorPage<T> {
    pub(crate) paging: Paging,
    pub(crate) results: Vec<T>,
}

/// Where the other pages are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Paging {
    cursors: Cursors,
    first: String,
    previous: Option<String>,
    next: Option<String>,
    last: String,
}

/// The same as values of `previous` and `next`; null: there is no such page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cursors {
    previous: Option<String>,
    next: Option<String>,
}

/// Makes a page of `found`: up to one more than the limit, in the order in which the database walked. `path` and `filters`
/// (`&name=value`, encoded) are those of the request.
pub(crate) fn page<R, T>(
    mut found: Vec<R>,
    slice: Slice,
    number: impl Fn(&R) -> i64,
    view: impl Fn(R) -> T,
    (base, path, filters): (&Base, &str, &str),
) -> CursorPage<T> {
    let limit = usize::try_from(slice.limit).unwrap_or_default();
    let more = found.len() > limit;
    found.truncate(limit);
    if !slice.onward {
        found.reverse();
    }
    // Where a walk came from there are others: the cursor is the number of one of them.
    let came_from = slice.from.is_some();
    let (before, after) = if slice.onward { (came_from, more) } else { (more, came_from) };
    let cursor = |row: Option<&R>, exists: bool| row.filter(|_| exists).map(|row| number(row).to_string());
    let cursors = Cursors { previous: cursor(found.first(), before), next: cursor(found.last(), after) };
    let (limit, ascending) = (slice.limit, slice.ascending);
    let at = |place: String| base.url(&format!("{path}?limit={limit}&asc_order={ascending}{filters}{place}"));
    Paging {
        first: at(String::new()),
        last: at(format!("&previous={END}")),
        previous: cursors.previous.as_ref().map(|cursor| at(format!("&previous={cursor}"))),
        next: cursors.next.as_ref().map(|cursor| at(format!("&next={cursor}"))),
        cursors,
    }
    .with(found.into_iter().map(view).collect())
}

impl Paging {
    fn with<T>(self, results: Vec<T>) -> CursorPage<T> {
        CursorPage { paging: self, results }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<(i64, bool, Option<i64>), i32> {
        let mut query = CursorQuery::default();
        for (name, value) in fields {
            let field = match *name {
                "limit" => &mut query.limit,
                "next" => &mut query.next,
                "previous" => &mut query.previous,
                "ascOrder" => &mut query.asc_order_camel,
                _ => &mut query.asc_order,
            };
            *field = Some((*value).to_owned());
        }
        query.slice().map(|slice| (slice.limit, slice.upwards(), slice.from)).map_err(|refusal| refusal.code())
    }

    #[test]
    fn parameters_are_read() {
        for (given, expected) in [
            (&[][..], Ok((500, true, None))),
            (&[("limit", ""), ("next", "")], Ok((500, true, None))),
            (&[("limit", "7"), ("next", "3")], Ok((7, true, Some(3)))),
            (&[("limit", "9999")], Ok((500, true, None))),
            (&[("ascOrder", "false")], Ok((500, false, None))),
            (&[("asc_order", "false"), ("previous", "8")], Ok((500, true, Some(8)))),
            (&[("previous", "end")], Ok((500, false, None))),
            (&[("ascOrder", "true"), ("asc_order", "true")], Ok((500, true, None))),
            (&[("ascOrder", "true"), ("asc_order", "false")], Err(25)),
            (&[("ascOrder", "TRUE")], Err(25)),
            (&[("asc_order", "1")], Err(25)),
            (&[("limit", "0")], Err(25)),
            (&[("limit", "-1")], Err(25)),
            (&[("limit", "many")], Err(25)),
            (&[("limit", "99999999999999999999")], Err(25)),
            (&[("next", "x")], Err(25)),
            (&[("next", "-3")], Err(25)),
            (&[("next", "end")], Err(25)),
            (&[("previous", "1.5")], Err(25)),
            (&[("next", "1"), ("previous", "2")], Err(25)),
        ] {
            assert_eq!(read(given), expected, "{given:?}");
        }
    }
}
