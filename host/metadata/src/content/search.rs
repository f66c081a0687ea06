//! Searching content: one statement per order, whatever is asked for, so that few are prepared.

use lectern_domain::search::{Search, Terms};
use tokio_postgres::types::ToSql;

use super::row::{ContentRow, select};
use super::{SeenBy, seen_by, seen_by_values};
use crate::database::GenericClient;
use crate::error::DbError;
use crate::row as rows;

/// By what results are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// Name.
    Name,
    /// Title, or the name where there is none.
    Title,
    /// User name of the owner.
    Owner,
    /// When it was made.
    Created,
    /// When a version last became active.
    Deployed,
}

impl SortKey {
    fn sql(self) -> &'static str {
        match self {
            Self::Name => "lower(c.name)",
            Self::Title => "lower(coalesce(nullif(c.title, ''), c.name))",
            Self::Owner => "lower(u.username)",
            Self::Created => "c.created_at",
            Self::Deployed => "c.last_deployed_at",
        }
    }
}

/// The part of all results that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Order.
    pub by: SortKey,
    /// Whether the largest comes first.
    pub descending: bool,
    /// Results to pass over.
    pub offset: i64,
    /// Most results.
    pub limit: i64,
}

/// Content found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The part asked for.
    pub rows: Vec<ContentRow>,
    /// How many there are in all.
    pub total: i64,
}

/// A pattern of LIKE that finds `text` anywhere.
fn anywhere(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// [`Terms`] as values of parameters.
struct Values {
    words: Vec<String>,
    names: Vec<String>,
    titles: Vec<String>,
    owners: Vec<String>,
    tags: Vec<String>,
    guids: Vec<uuid::Uuid>,
    modes: Vec<&'static str>,
    categories: Vec<String>,
    access: Vec<&'static str>,
    states: Vec<&'static str>,
}

impl Values {
    /// In the order of the parameters.
    fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.words,
            &self.names,
            &self.titles,
            &self.owners,
            &self.tags,
            &self.guids,
            &self.modes,
            &self.categories,
            &self.access,
            &self.states,
        ]
    }
}

impl From<&Terms> for Values {
    fn from(terms: &Terms) -> Self {
        Self {
            words: terms.words.iter().map(|text| anywhere(text)).collect(),
            names: terms.names.iter().map(|text| anywhere(text)).collect(),
            titles: terms.titles.iter().map(|text| anywhere(text)).collect(),
            owners: terms.owners.clone(),
            tags: terms.tags.clone(),
            guids: terms.guids.iter().map(|guid| guid.0).collect(),
            modes: terms.modes.iter().map(|mode| mode.as_str()).collect(),
            categories: terms.categories.clone(),
            access: terms.access.iter().map(|access| access.as_str()).collect(),
            states: terms.states.iter().map(|state| state.as_str()).collect(),
        }
    }
}

/// Conditions over the parameters from `$first` on, in the order of [`Values`], each with what an empty list means.
struct Conditions {
    word: String,
    name: String,
    title: String,
    owner: String,
    tag: String,
    guid: String,
    kind: String,
    access: String,
    state: String,
    first: usize,
}

impl Conditions {
    fn at(first: usize) -> Self {
        let p = |n: usize| format!("${}", first + n);
        Self {
            // `part` is one of the words, `state` one of the states.
            word: "lower(c.name) LIKE part OR lower(coalesce(c.title, '')) LIKE part OR lower(c.description) LIKE part"
                .into(),
            name: format!("lower(c.name) LIKE ANY ({}::text[])", p(1)),
            title: format!("lower(coalesce(c.title, '')) LIKE ANY ({}::text[])", p(2)),
            owner: format!("lower(u.username) = ANY ({}::text[])", p(3)),
            tag: format!(
                "EXISTS (SELECT FROM content_tags ct JOIN tags t ON t.id = ct.tag_id \
                 WHERE ct.content_id = c.id AND lower(t.name) = ANY ({}::text[]))",
                p(4)
            ),
            guid: format!("c.guid = ANY ({}::uuid[])", p(5)),
            kind: format!("(c.app_mode = ANY ({}::text[]) OR c.content_category = ANY ({}::text[]))", p(6), p(7)),
            access: format!("c.access_type = ANY ({}::text[])", p(8)),
            state: "CASE state WHEN 'locked' THEN c.locked WHEN 'unlocked' THEN NOT c.locked \
                    WHEN 'published' THEN c.active_bundle_id IS NOT NULL ELSE c.active_bundle_id IS NULL END"
                .into(),
            first,
        }
    }

    /// All must hold; a list that is empty asks for nothing.
    fn wanted(&self) -> String {
        let empty = |n: usize, of: &str| format!("cardinality(${}::{of}[]) = 0", self.first + n);
        let given = |n| empty(n, if n == 5 { "uuid" } else { "text" });
        format!(
            "NOT EXISTS (SELECT FROM unnest(${}::text[]) AS part WHERE NOT ({})) \
             AND ({} OR {}) AND ({} OR {}) AND ({} OR {}) AND ({} OR {}) AND ({} OR {}) AND (({} AND {}) OR {}) AND ({} OR {}) \
             AND NOT EXISTS (SELECT FROM unnest(${}::text[]) AS state WHERE NOT ({}))",
            self.first,
            self.word,
            given(1),
            self.name,
            given(2),
            self.title,
            given(3),
            self.owner,
            given(4),
            self.tag,
            given(5),
            self.guid,
            given(6),
            given(7),
            self.kind,
            given(8),
            self.access,
            self.first + 9,
            self.state,
        )
    }

    /// None may hold.
    fn unwanted(&self) -> String {
        format!(
            "NOT EXISTS (SELECT FROM unnest(${}::text[]) AS part WHERE {}) AND NOT ({} OR {} OR {} OR {} OR {} OR {} OR {}) \
             AND NOT EXISTS (SELECT FROM unnest(${}::text[]) AS state WHERE {})",
            self.first,
            self.word,
            self.name,
            self.title,
            self.owner,
            self.tag,
            self.guid,
            self.kind,
            self.access,
            self.first + 9,
            self.state,
        )
    }
}

/// Finds content that `viewer` may see (`None`: all). Two queries.
pub async fn search(
    client: &impl GenericClient,
    query: &Search,
    viewer: Option<&SeenBy>,
    slice: Slice,
) -> Result<Found, DbError> {
    let (wanted, unwanted) = (Values::from(&query.wanted), Values::from(&query.unwanted));
    let (user, listed) = seen_by_values(viewer);
    let holds = format!("{} AND {} AND {}", seen_by(1, 2), Conditions::at(3).wanted(), Conditions::at(13).unwanted());
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&user, &listed];
    for terms in [&wanted, &unwanted] {
        values.extend(terms.parameters());
    }
    let sql = format!("SELECT count(*) AS total FROM content c JOIN users u ON u.id = c.owner_id WHERE {holds}");
    let total = rows::get(&rows::query_one(client, &sql, &values).await?, "total")?;
    let direction = if slice.descending { "DESC" } else { "ASC" };
    let sql = format!(
        "{} WHERE {holds} ORDER BY {} {direction}, c.id {direction} OFFSET $23 LIMIT $24",
        select(),
        slice.by.sql()
    );
    values.extend([&slice.offset as &(dyn ToSql + Sync), &slice.limit]);
    let found = rows::query(client, &sql, &values).await?;
    Ok(Found { rows: found.iter().map(ContentRow::from_row).collect::<Result<_, _>>()?, total })
}
