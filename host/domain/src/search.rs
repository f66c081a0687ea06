//! The words of a search for content.
//!
//! A query is words separated by blanks; `"…"` holds blanks together. A plain word must occur in the name, the title or the
//! description. `key:value` asks for more:
//!
//! | word | finds content |
//! |---|---|
//! | `owner:ada`, `owner:@me` | owned by this user |
//! | `tag:sales` | that bears a tag of this name |
//! | `type:api` | of a kind: a mode (`python-fastapi`), a category (`pin`, `site`, …) or `api`, `app`, `document` |
//! | `name:x`, `title:x` | with this in its name, its title |
//! | `guid:…` | with this GUID |
//! | `access:acl` | of an access type: `all`, `logged_in`, `acl` |
//! | `is:locked`, `is:unlocked`, `is:published`, `is:unpublished` | in this state |
//!
//! Words of different keys must all hold; of several with one key, one (`is:` and plain words: all). `-` before a word leaves
//! out what it would find. Letter case does not matter.

use crate::access::AccessType;
use crate::app_mode::AppMode;
use crate::ids::ContentGuid;

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 1024;

/// Most words: each costs a look at every item.
pub const MAX_WORDS: usize = 20;

/// A query cannot be understood; the text says why and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// Too long.
    #[error("the query is longer than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    /// Too many words.
    #[error("the query has more than {MAX_WORDS} words")]
    TooManyWords,
    /// A quotation mark without its partner.
    #[error("the query has a quotation mark without its partner")]
    Unclosed,
    /// `key:` with nothing behind it, or a minus sign alone.
    #[error("{0:?} says nothing")]
    Empty(String),
    /// The value is none of those that the key knows.
    #[error("{key}:{value} is not known: {allowed}")]
    Unknown {
        /// The key.
        key: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// A state that content is in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its message is shown instead of it.
    Locked,
    /// Not so.
    Unlocked,
    /// It has an active version.
    Published,
    /// It has none.
    Unpublished,
}

impl State {
    const ALL: [Self; 4] = [Self::Locked, Self::Unlocked, Self::Published, Self::Unpublished];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Unlocked => "unlocked",
            Self::Published => "published",
            Self::Unpublished => "unpublished",
        }
    }
}

/// What is asked for. Texts are in lower case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terms {
    /// Parts of name, title or description.
    pub words: Vec<String>,
    /// Parts of names.
    pub names: Vec<String>,
    /// Parts of titles.
    pub titles: Vec<String>,
    /// User names of owners.
    pub owners: Vec<String>,
    /// Names of tags.
    pub tags: Vec<String>,
    /// GUIDs.
    pub guids: Vec<ContentGuid>,
    /// Kinds, by mode.
    pub modes: Vec<AppMode>,
    /// Kinds, by category.
    pub categories: Vec<String>,
    /// Access types.
    pub access: Vec<AccessType>,
    /// States.
    pub states: Vec<State>,
}

/// A query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// What must hold.
    pub wanted: Terms,
    /// What must not.
    pub unwanted: Terms,
}

/// What stands for who asks, as a value of `owner:`.
const ME: &str = "@me";

impl Search {
    /// Reads a query; the empty one finds everything. `me` is the user name of who asks.
    pub fn parse(query: &str, me: &str) -> Result<Self, BadQuery> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(BadQuery::TooLong);
        }
        let mut search = Self::default();
        let words = split(query)?;
        if words.len() > MAX_WORDS {
            return Err(BadQuery::TooManyWords);
        }
        for word in words {
            let (terms, word) = match word.strip_prefix('-') {
                Some(rest) => (&mut search.unwanted, rest.to_owned()),
                None => (&mut search.wanted, word),
            };
            terms.take(&word, me)?;
        }
        Ok(search)
    }
}

/// Cuts at blanks that are not within quotation marks, which go.
fn split(query: &str) -> Result<Vec<String>, BadQuery> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for c in query.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            c if c.is_whitespace() && !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if quoted {
        return Err(BadQuery::Unclosed);
    }
    if begun {
        words.push(word);
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

impl Terms {
    fn take(&mut self, word: &str, me: &str) -> Result<(), BadQuery> {
        let lower = word.to_lowercase();
        if lower.is_empty() {
            return Err(BadQuery::Empty("-".into()));
        }
        // A colon behind any other word is that word's own: titles have them.
        let Some((key, value)) = lower.split_once(':').filter(|(key, _)| KEYS.contains(key)) else {
            self.words.push(lower);
            return Ok(());
        };
        if value.is_empty() {
            return Err(BadQuery::Empty(shown(word)));
        }
        let unknown = |key, allowed| BadQuery::Unknown { key, value: shown(value), allowed };
        match key {
            "owner" => self.owners.push(if value == ME { me.to_lowercase() } else { value.to_owned() }),
            "tag" => self.tags.push(value.to_owned()),
            "name" => self.names.push(value.to_owned()),
            "title" => self.titles.push(value.to_owned()),
            "guid" => self.guids.push(value.parse().map_err(|_| unknown("guid", "it is no GUID"))?),
            "access" => {
                let access = AccessType::parse(value).ok_or_else(|| unknown("access", "all, logged_in or acl"));
                self.access.push(access?);
            }
            "is" => {
                let state = State::ALL.into_iter().find(|state| state.as_str() == value);
                let allowed = "locked, unlocked, published or unpublished";
                self.states.push(state.ok_or_else(|| unknown("is", allowed))?);
            }
            _ => self.take_kind(value).map_err(|()| {
                unknown("type", "api, app, document, a mode such as python-fastapi, or a category such as pin")
            })?,
        }
        Ok(())
    }

    fn take_kind(&mut self, value: &str) -> Result<(), ()> {
        use AppMode::{
            Api, JupyterStatic, JupyterVoila, Nodejs, PythonApi, PythonBokeh, PythonDash, PythonFastapi, PythonGradio,
            PythonPanel, PythonShiny, PythonStreamlit, QuartoShiny, QuartoStatic, RmdShiny, RmdStatic, Shiny, Static,
            TensorflowSavedModel,
        };
        let group: &[AppMode] = match value {
            "api" => &[Api, PythonApi, PythonFastapi, TensorflowSavedModel],
            "app" | "application" => &[
                Shiny,
                RmdShiny,
                QuartoShiny,
                PythonDash,
                PythonStreamlit,
                PythonBokeh,
                PythonShiny,
                PythonGradio,
                PythonPanel,
                JupyterVoila,
                Nodejs,
            ],
            "document" => &[RmdStatic, QuartoStatic, JupyterStatic, Static],
            _ => &[],
        };
        self.modes.extend(group);
        if CATEGORIES.contains(&value) {
            self.categories.push(value.to_owned());
        } else if group.is_empty() {
            self.modes.push(AppMode::parse(value).ok_or(())?);
        }
        Ok(())
    }
}

const KEYS: &[&str] = &["owner", "tag", "type", "name", "title", "guid", "access", "is"];

/// Categories that clients write into manifests.
const CATEGORIES: &[&str] = &["site", "plot", "pin", "mcp"];

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn parse(query: &str) -> Result<Search, BadQuery> {
        Search::parse(query, "Ada")
    }

    #[test]
    fn words_are_told_apart() {
        let found =
            parse("  Forecast \"north west\" OWNER:Bob tag:\"Big Sales\" -is:locked -draft type:pin name:x title:y ")
                .unwrap();
        let wanted = Terms {
            words: vec!["forecast".into(), "north west".into()],
            owners: vec!["bob".into()],
            tags: vec!["big sales".into()],
            categories: vec!["pin".into()],
            names: vec!["x".into()],
            titles: vec!["y".into()],
            ..Terms::default()
        };
        assert_eq!(found.wanted, wanted);
        let unwanted = Terms { words: vec!["draft".into()], states: vec![State::Locked], ..Terms::default() };
        assert_eq!(found.unwanted, unwanted);
        assert_eq!(parse("owner:@me").unwrap().wanted.owners, ["ada"]);
        assert_eq!(parse("").unwrap(), Search::default());
        assert_eq!(parse("\"\"").unwrap(), Search::default());
        assert_eq!(parse("Q3: results 12:30").unwrap().wanted.words, ["q3:", "results", "12:30"]);
        assert_eq!(parse("type:python-fastapi").unwrap().wanted.modes, [AppMode::PythonFastapi]);
        assert!(parse("type:app").unwrap().wanted.modes.contains(&AppMode::Shiny));
        assert!(parse("type:api").unwrap().wanted.modes.contains(&AppMode::Api));
        assert_eq!(parse("access:logged_in").unwrap().wanted.access, [AccessType::LoggedIn]);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for bad in
            ["is:broken", "type:spreadsheet", "access:everyone", "guid:7", "owner:", "-", "a -", "\"a", "tag:\"\""]
        {
            let told = parse(bad).unwrap_err().to_string();
            assert!(!told.is_empty(), "{bad}");
        }
        assert!(matches!(parse("is:broken"), Err(BadQuery::Unknown { key: "is", .. })));
        assert_eq!(parse(&"x".repeat(1025)), Err(BadQuery::TooLong));
        assert_eq!(parse(&"x ".repeat(21)), Err(BadQuery::TooManyWords));
    }

    proptest! {
        /// Any text is read or refused, and what is read holds no more than was written.
        #[test]
        fn any_text_is_read_or_refused(query in "(-|\"|:| |is:|type:|owner:|tag:|[a-zA-Z%_\\\\äß]){0,40}") {
            if let Ok(search) = parse(&query) {
                let words = search.wanted.words.iter().chain(&search.unwanted.words);
                prop_assert!(words.map(String::len).sum::<usize>() <= query.to_lowercase().len());
            }
        }
    }
}
