//! Long lists, a page at a time.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{domain::problem::Problem, functions::refusal::Refusal};

/// How many items a page has at most: 1 to 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "u16")]
#[schema(value_type = u16, minimum = 1, maximum = 1000, default = 100)]
pub struct Top(u16);

impl Default for Top {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u16> for Top {
    type Error = &'static str;

    fn try_from(top: u16) -> Result<Self, Self::Error> {
        if (1..=1_000).contains(&top) { Ok(Self(top)) } else { Err("top is a number from 1 to 1000") }
    }
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    #[serde(default)]
    #[param(inline)]
    pub top: Top,
    /// The `next` of the page before.
    pub after: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The next page's `after`; `null`: there is no more.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of items that `name` names, each once.
    pub fn of(
        all: impl IntoIterator<Item = T>,
        Paging { top, after }: &Paging,
        name: impl Fn(&T) -> &str,
    ) -> Result<Self, Refusal> {
        let mut all = all.into_iter();
        if let Some(after) = after
            && !all.any(|item| name(&item) == after)
        {
            let problem = Problem::new("the list has no such item", "give what `next` of the page before says");
            return Err(problem.at_field("after").into());
        }
        let items: Vec<T> = all.by_ref().take(top.0.into()).collect();
        let next = all.next().and(items.last()).map(|last| name(last).to_owned());
        Ok(Self { items, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_to_the_end_without_gaps_or_repetition() {
        let all: Vec<String> = (0..25).map(|number| format!("item {number}")).collect();
        for top in [1, 5, 7, 25, 1_000] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let paging = Paging { top: Top(top), after };
                let page = Page::of(all.iter().cloned(), &paging, |item| item).unwrap();
                assert!(!page.items.is_empty() && page.items.len() <= top.into());
                seen.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, all, "{top}");
        }
        let elsewhere = Paging { after: Some("item 25".to_owned()), ..Paging::default() };
        assert!(Page::of(all, &elsewhere, |item| item).is_err());
    }
}
