//! What providers charge: the list that ships with the program (`prices.toml`, with its sources), and what a campaign says
//! instead. A campaign keeps the list that it was started with: a newer program that goes on with it counts by the same
//! prices as the one that set its budget aside.

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::domain::{money::Usd, problem::Problem};

/// A campaign's own prices, `[prices]`; for all else those that ship.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// By the name under which the model or the deployment is asked.
    pub models: BTreeMap<String, Price>,
    /// Of the semantic ranker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_1000_semantic_queries: Option<Usd>,
    /// A text record is each begun 1,000 characters of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_1000_text_records: Option<Usd>,
}

/// Prices as they were known on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The day on which they were read.
    pub read_on: Date,
    prices: Prices,
}

/// Of a model, per million tokens. So every price is a whole number of [`Usd`]'s units: 0.0125 dollars for a million is
/// 12.5 units for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { input = 0.15, cached_input = 0.075, output = 0.60 }")]
pub struct Price {
    pub input: Usd,
    /// `None`: as other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Usd>,
    /// Embeddings have none.
    #[serde(default)]
    pub output: Usd,
}

/// What a call took, or may take at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Cached ones included.
    pub input: u64,
    /// Those of the input that the service had read before.
    pub cached: u64,
    /// Those that a reasoning model thinks included.
    pub output: u64,
}

static SHIPPED: LazyLock<List> =
    LazyLock::new(|| toml::from_str(include_str!("prices.toml")).expect("a test reads the list"));

impl List {
    /// What this program came with.
    pub fn shipped() -> Self {
        SHIPPED.clone()
    }
}

impl Prices {
    /// These, and what the list says besides.
    pub fn over(&self, list: &List) -> Self {
        let List { prices, .. } = list;
        let models = prices.models.iter().chain(&self.models);
        Self {
            models: models.map(|(name, price)| (name.clone(), *price)).collect(),
            per_1000_semantic_queries: self.per_1000_semantic_queries.or(prices.per_1000_semantic_queries),
            per_1000_text_records: self.per_1000_text_records.or(prices.per_1000_text_records),
        }
    }

    /// Of a model by its name, with or without the date of its version (`gpt-4o-mini-2024-07-18`).
    pub fn of(&self, model: &str) -> Option<Price> {
        let names = [Some(model), undated(model)];
        let named = |list: &Self| names.iter().flatten().find_map(|name| list.models.get(*name)).copied();
        named(self).or_else(|| named(&SHIPPED.prices))
    }

    /// As [`Prices::of`]. A model on this machine (`is_here`) is free unless the campaign says otherwise; of any other
    /// one the price must be known before it is asked.
    pub fn of_asked(&self, model: &str, is_here: bool) -> Result<Price, Problem> {
        if is_here {
            return Ok(self.models.get(model).copied().unwrap_or_default());
        }
        self.of(model).ok_or_else(|| {
            let message =
                format!("it is not known what the model `{model}` costs, and so not what the campaign may cost");
            let remedy = format!(
                "say it in the campaign file, in dollars per million tokens: [prices.models] \
                 \"{model}\" = {{ input = 0.15, cached_input = 0.075, output = 0.60 }}; or give an Azure deployment \
                 the name of its model"
            );
            Problem::new(message, remedy).at_field("prices.models")
        })
    }

    pub fn semantic_queries(&self, queries: u64) -> Usd {
        self.per_thousand(|prices| prices.per_1000_semantic_queries, queries)
    }

    pub fn text_records(&self, records: u64) -> Usd {
        self.per_thousand(|prices| prices.per_1000_text_records, records)
    }

    fn per_thousand(&self, price: impl Fn(&Self) -> Option<Usd>, count: u64) -> Usd {
        let price = price(self).or_else(|| price(&SHIPPED.prices)).unwrap_or_default();
        Usd::priced_per(1_000, &[(price, count)])
    }
}

impl Price {
    /// Rounded up, once.
    pub fn cost(&self, tokens: Tokens) -> Usd {
        let cached = tokens.cached.min(tokens.input);
        let cached_input = self.cached_input.unwrap_or(self.input);
        let parts = [(self.input, tokens.input - cached), (cached_input, cached), (self.output, tokens.output)];
        Usd::priced_per(1_000_000, &parts)
    }
}

/// The name without `-2024-07-18`.
fn undated(model: &str) -> Option<&str> {
    let (name, date) = model.split_at_checked(model.len().checked_sub("-2024-07-18".len())?)?;
    date.strip_prefix('-')?.parse::<Date>().is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(dollars: f64) -> Usd {
        Usd::from_dollars(dollars).unwrap()
    }

    #[test]
    fn every_price_that_ships_is_one_and_has_a_day() {
        assert!(SHIPPED.read_on >= jiff::civil::date(2026, 11, 23));
        let shipped = &SHIPPED.prices;
        assert!(shipped.per_1000_semantic_queries > Some(Usd::ZERO));
        assert!(shipped.per_1000_text_records > Some(Usd::ZERO));
        for (model, price) in &shipped.models {
            assert!(price.input > Usd::ZERO, "{model}");
            assert!(price.cached_input.is_none_or(|cached| cached < price.input), "{model}");
            assert!(price.output > price.input || model.starts_with("text-embedding-"), "{model}");
        }
    }

    #[test]
    fn tokens_of_half_a_unit_are_counted_exactly_and_a_call_is_rounded_up_once() {
        let nano = Price { input: usd(0.05), cached_input: Some(usd(0.0125)), output: usd(0.40) };
        // 12.5 units each.
        assert_eq!(nano.cost(Tokens { input: 2, cached: 2, output: 0 }), usd(25e-9));
        assert_eq!(nano.cost(Tokens { input: 1, cached: 1, output: 0 }), usd(13e-9));
        // 50 + 37.5 + 400.
        assert_eq!(nano.cost(Tokens { input: 4, cached: 3, output: 1 }), usd(488e-9));
        // More cached than there was: no input is paid twice, or less than nothing.
        assert_eq!(nano.cost(Tokens { input: 2, cached: 9, output: 0 }), usd(25e-9));
        let embedding = Price { input: usd(0.02), ..Price::default() };
        assert_eq!(embedding.cost(Tokens { input: 1_000_000, cached: 500_000, output: 0 }), usd(0.02));
    }

    #[test]
    fn a_campaign_s_price_goes_first_and_a_version_s_date_does_not_matter() {
        let own = Price { input: usd(1.0), ..Price::default() };
        let models = [("gpt-4o-mini", own), ("my-deployment", own)].map(|(name, price)| (name.to_owned(), price));
        let prices = Prices { models: models.into(), per_1000_text_records: Some(usd(0.5)), ..Prices::default() };
        for model in ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "my-deployment"] {
            assert_eq!(prices.of(model), Some(own), "{model}");
        }
        assert_eq!(prices.of("gpt-4.1-nano-2025-04-14"), SHIPPED.prices.of("gpt-4.1-nano"));
        assert!(prices.of("gpt-4.1-nano").is_some());
        for unknown in ["gpt-4o-mini-latest", "gpt-4o-mini-2024-13-18", "2024-07-18", "", "ä-2024-07-18"] {
            assert_eq!(prices.of(unknown), None, "{unknown}");
        }
        assert_eq!(prices.text_records(3), usd(0.0015));
        assert_eq!(prices.semantic_queries(3), usd(0.003));
    }

    #[test]
    fn a_list_that_an_earlier_version_kept_is_still_read() {
        let json = include_str!("../../tests/data/formats/prices-1.json");
        let list: List = serde_json::from_str(json).unwrap();
        let written: serde_json::Value = serde_json::to_value(&list).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn the_list_that_a_campaign_was_started_with_counts_before_the_one_that_ships() {
        let old = Price { input: usd(7.0), ..Price::default() };
        let prices = Prices {
            models: [("gpt-4o-mini".to_owned(), old)].into(),
            per_1000_text_records: Some(usd(3.0)),
            ..Prices::default()
        };
        let list = List { read_on: jiff::civil::date(2025, 1, 1), prices };
        let own = Price { input: usd(1.0), ..Price::default() };
        let campaign = Prices { models: [("mine".to_owned(), own)].into(), ..Prices::default() };
        let prices = campaign.over(&serde_json::from_str(&serde_json::to_string(&list).unwrap()).unwrap());
        assert_eq!((prices.of("gpt-4o-mini-2024-07-18"), prices.of("mine")), (Some(old), Some(own)));
        assert_eq!(prices.text_records(1_000), usd(3.0));
        assert_eq!(prices.of("gpt-4.1"), SHIPPED.prices.of("gpt-4.1"), "nobody had asked it before");
        let dearer = Prices { models: [("gpt-4o-mini".to_owned(), own)].into(), ..Prices::default() };
        assert_eq!(dearer.over(&list).of("gpt-4o-mini"), Some(own), "the campaign's own word goes first");
    }

    #[test]
    fn a_model_without_a_price_is_refused_with_what_to_write_unless_it_runs_here() {
        let prices = Prices::default();
        let problem = prices.of_asked("my-deployment", false).unwrap_err();
        assert!(problem.to_string().contains("\"my-deployment\" = { input"), "{problem}");
        assert_eq!(problem.field.as_deref(), Some("prices.models"));
        assert_eq!(prices.of_asked("qwen", true).unwrap(), Price::default());
        // Whatever it is called.
        assert_eq!(
            prices.of_asked("gpt-4o-mini", true).unwrap().cost(Tokens { input: 9, cached: 0, output: 9 }),
            Usd::ZERO
        );
    }
}
