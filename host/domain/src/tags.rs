//! Tags: a tree whose roots are categories, and the rules for growing it and for what content bears.
//!
//! A category sorts tags and is on no content. Below it are tags, and below these subtags, which may have subtags of
//! their own. Content that bears a tag bears every tag above it too, so that whoever looks for the broader word finds
//! it; and what loses a tag loses those below.

use std::collections::{HashMap, HashSet};

use crate::ids::TagId;

/// Most levels, the category's included: people stop reading a tree at four or five.
pub const MAX_LEVELS: usize = 16;

/// Most tags of a server: the whole tree is read to decide about a change, and shown in one list.
pub const MAX_TAGS: usize = 10_000;

/// Longest name, in characters.
pub const MAX_NAME: usize = 255;

/// A tag as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its number.
    pub id: TagId,
    /// The tag it is below; `None`: a category.
    pub parent: Option<TagId>,
    /// Its name.
    pub name: String,
}

/// Why a tag cannot be made, changed or given to content. [`BadTag::code`] is the protocol's error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTag {
    /// Categories are on no content.
    #[error("{0:?} is a category: content bears the tags below it, not the category")]
    Category(String),
    /// The name breaks its rule.
    #[error("a tag's name must be 1 to {MAX_NAME} characters without control characters")]
    Name,
    /// A sibling has the name.
    #[error("there is a tag {0:?} at this place already")]
    Taken(String),
    /// There are as many tags as a server may have.
    #[error("a server has at most {MAX_TAGS} tags")]
    TooMany,
    /// The parent does not exist.
    #[error("there is no tag {0} to be the parent")]
    NoParent(TagId),
    /// It would be too deep in the tree.
    #[error("tags may be {MAX_LEVELS} levels deep, the category included")]
    TooDeep,
    /// It would be below itself.
    #[error("a tag cannot be moved below itself")]
    Circular,
    /// Categories stay categories, and tags tags: content bears the one and not the other.
    #[error("a category cannot become a tag, nor a tag a category")]
    Kind,
}

impl BadTag {
    /// The protocol's error code (connect protocol, error codes 79, 81, 157, 158).
    pub fn code(&self) -> i32 {
        match self {
            Self::Category(_) => 79,
            Self::Name | Self::Taken(_) | Self::TooMany => 81,
            Self::NoParent(_) | Self::TooDeep => 157,
            Self::Circular | Self::Kind => 158,
        }
    }
}

/// All tags of a server.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    tags: HashMap<TagId, Tag>,
}

impl FromIterator<Tag> for Tree {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        Self { tags: tags.into_iter().map(|tag| (tag.id, tag)).collect() }
    }
}

impl Tree {
    /// The tag and those above it, the category last. Ends on a tree that is damaged, too.
    fn upwards(&self, id: TagId) -> Vec<&Tag> {
        let (mut line, mut next) = (Vec::new(), Some(id));
        while let Some(tag) = next.and_then(|id| self.tags.get(&id)).filter(|_| line.len() < MAX_TAGS) {
            line.push(tag);
            next = tag.parent;
        }
        line
    }

    /// Levels of the subtree below and with `id`.
    fn height(&self, id: TagId) -> usize {
        let below = self.descendants(id);
        let base = self.upwards(id).len();
        below.iter().map(|tag| self.upwards(*tag).len()).max().unwrap_or(base) + 1 - base.max(1)
    }

    /// Every tag below `id`, without itself.
    pub fn descendants(&self, id: TagId) -> HashSet<TagId> {
        self.tags
            .keys()
            .copied()
            .filter(|other| *other != id && self.upwards(*other).iter().any(|tag| tag.id == id))
            .collect()
    }

    fn check_place(&self, id: Option<TagId>, name: &str, parent: Option<TagId>) -> Result<(), BadTag> {
        let count = name.chars().count();
        if count == 0 || count > MAX_NAME || name.trim().is_empty() || name.chars().any(char::is_control) {
            return Err(BadTag::Name);
        }
        if let Some(parent) = parent
            && !self.tags.contains_key(&parent)
        {
            return Err(BadTag::NoParent(parent));
        }
        let lower = name.to_lowercase();
        let taken = |tag: &&Tag| Some(tag.id) != id && tag.parent == parent && tag.name.to_lowercase() == lower;
        match self.tags.values().find(taken) {
            Some(tag) => Err(BadTag::Taken(tag.name.clone())),
            None => Ok(()),
        }
    }

    /// Checks a tag that is to be made.
    pub fn check_new(&self, name: &str, parent: Option<TagId>) -> Result<(), BadTag> {
        self.check_place(None, name, parent)?;
        if self.tags.len() >= MAX_TAGS {
            return Err(BadTag::TooMany);
        }
        match parent {
            Some(parent) if self.upwards(parent).len() >= MAX_LEVELS => Err(BadTag::TooDeep),
            _ => Ok(()),
        }
    }

    /// Checks what `id` is to become; the caller has looked that it exists.
    pub fn check_change(&self, id: TagId, name: &str, parent: Option<TagId>) -> Result<(), BadTag> {
        let Some(old) = self.tags.get(&id) else { return Ok(()) };
        if old.parent.is_some() != parent.is_some() {
            return Err(BadTag::Kind);
        }
        if let Some(parent) = parent
            && self.upwards(parent).iter().any(|tag| tag.id == id)
        {
            return Err(BadTag::Circular);
        }
        self.check_place(Some(id), name, parent)?;
        match parent {
            Some(parent) if self.upwards(parent).len() + self.height(id) > MAX_LEVELS => Err(BadTag::TooDeep),
            _ => Ok(()),
        }
    }

    /// The tags that content bears when it is given `id`: itself and those above it up to the category, which is left out.
    pub fn given_with(&self, id: TagId) -> Result<Vec<TagId>, BadTag> {
        let line = self.upwards(id);
        match line.split_last() {
            Some((category, [])) => Err(BadTag::Category(category.name.clone())),
            Some((_, tags)) => Ok(tags.iter().map(|tag| tag.id).collect()),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(tags: &[(i64, i64, &str)]) -> Tree {
        let tag = |&(id, parent, name): &(i64, i64, &str)| Tag {
            id: TagId(id),
            parent: (parent > 0).then_some(TagId(parent)),
            name: name.into(),
        };
        tags.iter().map(tag).collect()
    }

    /// Category 1 with tags 2 and 3, subtag 4 below 2 and 5 below it; category 6.
    fn some() -> Tree {
        tree(&[(1, 0, "Teams"), (2, 1, "Sales"), (3, 1, "Research"), (4, 2, "North"), (5, 4, "Nord"), (6, 0, "Kind")])
    }

    #[test]
    fn a_tag_brings_those_above_it_and_no_category() {
        let given = |id| some().given_with(TagId(id)).map_err(|bad| bad.code());
        assert_eq!(given(5), Ok(vec![TagId(5), TagId(4), TagId(2)]));
        assert_eq!(given(2), Ok(vec![TagId(2)]));
        assert_eq!(given(1), Err(79));
        assert_eq!(some().descendants(TagId(2)), [TagId(4), TagId(5)].into());
        assert_eq!(some().descendants(TagId(5)), [].into());
    }

    #[test]
    fn places_are_checked() {
        let new = |name: &str, parent: Option<i64>| some().check_new(name, parent.map(TagId)).map_err(|bad| bad.code());
        assert_eq!(new("Sales", Some(3)), Ok(()));
        assert_eq!(new("sales", Some(1)), Err(81));
        assert_eq!(new("TEAMS", None), Err(81));
        assert_eq!(new("", None), Err(81));
        assert_eq!(new(" ", None), Err(81));
        assert_eq!(new("a\nb", None), Err(81));
        assert_eq!(new(&"x".repeat(256), None), Err(81));
        assert_eq!(new("Other", Some(9)), Err(157));
        let change = |id, name: &str, parent: Option<i64>| {
            some().check_change(TagId(id), name, parent.map(TagId)).map_err(|bad| bad.code())
        };
        assert_eq!(change(2, "SALES", Some(1)), Ok(()), "its own name in other letters");
        assert_eq!(change(2, "Sales", Some(6)), Ok(()));
        assert_eq!(change(2, "Research", Some(1)), Err(81));
        assert_eq!(change(2, "Sales", Some(5)), Err(158));
        assert_eq!(change(2, "Sales", Some(2)), Err(158));
        assert_eq!(change(2, "Sales", None), Err(158));
        assert_eq!(change(6, "Kind", Some(1)), Err(158));
        assert_eq!(change(3, "Research", Some(9)), Err(157));
    }

    #[test]
    fn the_tree_has_a_bottom() {
        let levels: i64 = 16;
        let deep: Vec<(i64, i64, &str)> =
            (1..=levels).map(|id| (id, id - 1, "x")).chain([(20, 1, "y"), (21, 20, "z")]).collect();
        let deep = tree(&deep);
        assert_eq!(deep.check_new("more", Some(TagId(levels))), Err(BadTag::TooDeep));
        assert_eq!(deep.check_new("more", Some(TagId(levels - 1))), Ok(()));
        assert_eq!(deep.check_change(TagId(20), "y", Some(TagId(levels - 2))), Ok(()));
        assert_eq!(
            deep.check_change(TagId(20), "y", Some(TagId(levels - 1))),
            Err(BadTag::TooDeep),
            "its subtag counts"
        );
    }

    proptest! {
        /// Whatever is allowed keeps the tree a tree: no circles, no level too many, categories at the roots.
        #[test]
        fn allowed_changes_keep_a_tree(steps in proptest::collection::vec((0i64..12, 0i64..12, 0u8..6), 1..60)) {
            let mut tags: Vec<Tag> = Vec::new();
            for (a, b, name) in steps {
                let now: Tree = tags.iter().cloned().collect();
                let parent = (b > 0).then_some(TagId(b));
                let name = format!("n{name}");
                if let Some(at) = tags.iter().position(|tag| tag.id == TagId(a)) {
                    if now.check_change(TagId(a), &name, parent).is_ok() {
                        tags[at].name = name;
                        tags[at].parent = parent;
                    }
                } else if now.check_new(&name, parent).is_ok() {
                    tags.push(Tag { id: TagId(a), parent, name });
                }
                let then: Tree = tags.iter().cloned().collect();
                for tag in &tags {
                    let line = then.upwards(tag.id);
                    prop_assert!(line.len() <= MAX_LEVELS);
                    prop_assert!(line.last().is_some_and(|root| root.parent.is_none()));
                }
            }
        }
    }
}
