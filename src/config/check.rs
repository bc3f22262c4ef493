//! How the values of a campaign file must fit together.

use std::ops::RangeInclusive;

use super::campaign::{ApprovalPolicy, Campaign, ColumnSpec, GenerationMode, SegmentationMethod};
use crate::domain::{
    attribute::{self, AttributeType},
    problem::Problem,
    variant::Slot,
};

impl Campaign {
    /// What single values cannot say: how they fit together.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_identity(&mut problems);
        self.check_customers(&mut problems);
        self.check_segmentation(&mut problems);
        self.check_generation(&mut problems);
        self.check_mode(&mut problems);
        self.check_safety(&mut problems);
        self.check_model(&mut problems);
        self.check_experiment(&mut problems);
        self.check_run(&mut problems);
        problems
    }

    fn check_identity(&self, problems: &mut Vec<Problem>) {
        let identity = &self.campaign;
        if identity.channels.is_empty() {
            problems.push(
                Problem::new("no channel is named", "name at least one of email, sms, push, in_app")
                    .at_field("campaign.channels"),
            );
        }
        if identity.locales.is_empty() {
            problems.push(
                Problem::new("no locale is named", "name at least one, e.g. `locales = [\"en\"]`")
                    .at_field("campaign.locales"),
            );
        }
        if let Some(twice) = first_duplicate(identity.channels.iter()) {
            problems.push(
                Problem::new(format!("`{twice}` is named twice"), "name each channel once")
                    .at_field("campaign.channels"),
            );
        }
        if let Some(twice) = first_duplicate(identity.locales.iter()) {
            problems.push(
                Problem::new(format!("`{twice}` is named twice"), "name each locale once").at_field("campaign.locales"),
            );
        }
    }

    fn check_customers(&self, problems: &mut Vec<Problem>) {
        let customers = &self.customers;
        if customers.delimiter.is_some_and(|delimiter| !delimiter.is_ascii() || "\"\r\n".contains(delimiter)) {
            problems.push(
                Problem::new(
                    "the delimiter must be one ASCII character other than a quote or a line end",
                    "use for example `,`, `;`, `|` or `\\t`",
                )
                .at_field("customers.delimiter"),
            );
        }
        if encoding_rs::Encoding::for_label(customers.encoding.as_bytes()).is_none() {
            problems.push(
                Problem::new(
                    format!("`{}` is not a known encoding", customers.encoding),
                    "use a WHATWG label such as utf-8, windows-1252, iso-8859-15 or utf-16le",
                )
                .at_field("customers.encoding"),
            );
        }
        for (name, spec) in &customers.columns {
            let field = format!("customers.columns.{name}");
            if !is_attribute_name(name) {
                problems.push(
                    Problem::new(
                        format!("`{name}` cannot be an attribute's name"),
                        "use lower-case letters, digits and `_`, starting with a letter; `customer_id` and `source_line` are taken",
                    )
                    .at_field(&field),
                );
            }
            let ColumnSpec::Declared(declared) = spec else { continue };
            let kind =
                declared.kind.or(attribute::well_known(name).map(|(kind, _, _)| kind)).unwrap_or(AttributeType::Text);
            if (declared.min.is_some() || declared.max.is_some()) && !kind.is_numeric() {
                problems.push(
                    Problem::new(
                        format!("`min` and `max` are for numbers, and `{name}` is {}", kind.as_str()),
                        "remove them or declare `type = \"number\"`",
                    )
                    .at_field(&field),
                );
            }
            if !declared.values.is_empty() && kind != AttributeType::Text {
                problems.push(
                    Problem::new(
                        format!("`values` is for text, and `{name}` is {}", kind.as_str()),
                        "remove it or declare `type = \"text\"`",
                    )
                    .at_field(&field),
                );
            }
            if [declared.min, declared.max].iter().flatten().any(|limit| !limit.is_finite()) {
                problems.push(
                    Problem::new("`min` and `max` must be finite numbers", "leave out a limit that there is not")
                        .at_field(&field),
                );
            }
            if declared.min.zip(declared.max).is_some_and(|(min, max)| min > max) {
                problems.push(
                    Problem::new("`min` is greater than `max`: no value fits", "swap or correct them").at_field(&field),
                );
            }
        }
    }

    fn check_segmentation(&self, problems: &mut Vec<Problem>) {
        let segmentation = &self.segmentation;
        let attributes = self.attributes();
        match segmentation.method {
            SegmentationMethod::Rules => {
                if segmentation.rules.is_empty() {
                    problems.push(
                        Problem::new(
                            "the method is `rules`, and there is no rule",
                            "add at least one [[segmentation.rules]]",
                        )
                        .at_field("segmentation.method"),
                    );
                }
            }
            SegmentationMethod::Rfm => {
                for needed in ["recency_days", "frequency", "monetary"] {
                    if attributes.get(needed).is_none_or(|attribute| !attribute.kind.is_numeric()) {
                        problems.push(
                            Problem::new(
                                format!("the method `rfm` needs a numeric attribute `{needed}`"),
                                format!("map it under [customers.columns]: {needed} = \"their column\""),
                            )
                            .at_field("segmentation.method"),
                        );
                    }
                }
            }
            SegmentationMethod::Kmeans => {
                for (index, name) in segmentation.features.iter().enumerate() {
                    if attributes.get(name).is_none_or(|attribute| !attribute.kind.is_numeric()) {
                        problems.push(
                            Problem::new(
                                format!("`{name}` is not a numeric attribute"),
                                "name attributes of [customers.columns] that are numbers",
                            )
                            .at_field(format!("segmentation.features[{index}]")),
                        );
                    }
                }
                if segmentation.features.is_empty() && !attributes.iter().any(|a| a.kind.is_numeric()) {
                    problems.push(
                        Problem::new(
                            "the method `kmeans` needs numbers, and no attribute is one",
                            "map at least one numeric column under [customers.columns]",
                        )
                        .at_field("segmentation.method"),
                    );
                }
                if segmentation.min_clusters < 2
                    || segmentation.max_clusters < segmentation.min_clusters
                    || segmentation.max_clusters > 20
                {
                    problems.push(
                        Problem::new(
                            "the numbers of clusters to try must satisfy 2 <= min_clusters <= max_clusters <= 20",
                            "for example min_clusters = 2, max_clusters = 8",
                        )
                        .at_field("segmentation"),
                    );
                }
            }
        }
        if segmentation.method != SegmentationMethod::Rules && !segmentation.rules.is_empty() {
            problems.push(
                Problem::new(
                    "rules are given, and the method is not `rules`",
                    "set method = \"rules\" or remove [[segmentation.rules]]",
                )
                .at_field("segmentation.method"),
            );
        }
    }

    fn check_generation(&self, problems: &mut Vec<Problem>) {
        let generation = &self.generation;
        let attributes = self.attributes();
        if !(1..=5).contains(&generation.candidates) {
            problems.push(
                Problem::new("candidates must be 1 to 5", "2 gives every cell one to fall back to")
                    .at_field("generation.candidates"),
            );
        }
        if self.content.passages == 0 {
            problems.push(
                Problem::new("a segment needs at least one passage", "12 is a good number")
                    .at_field("content.passages"),
            );
        }
        for (name, slot) in &generation.slots {
            let field = format!("generation.slots.{name}");
            if !is_attribute_name(name) {
                problems.push(
                    Problem::new(
                        format!("`{name}` cannot be a slot's name"),
                        "use lower-case letters, digits and `_`, starting with a letter",
                    )
                    .at_field(&field),
                );
            }
            if slot.fallback.trim().is_empty() {
                problems.push(
                    Problem::new(
                        "the slot has no fallback",
                        "say what stands there for a customer without a value, e.g. fallback = \"there\"",
                    )
                    .at_field(&field),
                );
            }
            // It stands in messages as it is; a value from a customer file would not get past the screen either.
            if slot.fallback.chars().count() > Slot::MAX_CHARS
                || slot.fallback.contains(|c: char| c.is_control() || "{}".contains(c))
            {
                problems.push(
                    Problem::new(
                        "the slot's fallback is longer than 40 characters, or has braces or line ends",
                        "write a word or two, e.g. fallback = \"there\"",
                    )
                    .at_field(&field),
                );
            }
            // A slot whose attribute is not mapped always shows its fallback: legitimate, as files differ in what
            // they hold.
            if attributes.get(&slot.attribute).is_some_and(|a| a.kind != AttributeType::Text) {
                problems.push(
                    Problem::new(
                        format!("the slot's attribute `{}` is not text", slot.attribute),
                        "only text attributes can stand in a message",
                    )
                    .at_field(&field),
                );
            }
        }
        for (index, phrase) in generation.brand.banned.iter().enumerate() {
            if phrase.trim().is_empty() {
                problems.push(
                    Problem::new("an empty phrase would ban every message", "remove it")
                        .at_field(format!("generation.brand.banned[{index}]")),
                );
            }
        }
        for channel in generation.brand.required.keys() {
            if !self.campaign.channels.contains(channel) {
                problems.push(
                    Problem::new(
                        format!("a text is required for `{channel}`, which is not a channel of this campaign"),
                        "remove it or add the channel to campaign.channels",
                    )
                    .at_field(format!("generation.brand.required.{channel}")),
                );
            }
        }
    }

    fn check_safety(&self, problems: &mut Vec<Problem>) {
        if let Some(twice) = first_duplicate(self.safety.content_safety.blocklists.iter()) {
            problems.push(
                Problem::new(format!("the blocklist `{twice}` is named twice"), "name each blocklist once")
                    .at_field("safety.content_safety.blocklists"),
            );
        }
    }

    fn check_mode(&self, problems: &mut Vec<Problem>) {
        let generation = &self.generation;
        let mut refuse =
            |field: &str, why: String, remedy: &str| problems.push(Problem::new(why, remedy).at_field(field));
        let by_customer = generation.mode == GenerationMode::Customer;
        match (by_customer, generation.fields.is_empty()) {
            (true, true) => refuse(
                "generation.fields",
                "nothing of a customer is given to whoever writes to them".to_owned(),
                "name the attributes that may be told, e.g. fields = [\"city\", \"last_product\"]",
            ),
            (false, false) => refuse(
                "generation.fields",
                "messages for segments know nothing of a customer".to_owned(),
                "remove the fields, or set mode = \"customer\"",
            ),
            _ => {}
        }
        let attributes = self.attributes();
        for field in generation.fields.iter().filter(|field| attributes.get(field).is_none()) {
            let why = format!("there is no attribute `{field}`");
            refuse("generation.fields", why, "map it to a column in [customers.columns], or remove it");
        }
        if by_customer && self.safety.approval == ApprovalPolicy::Always {
            refuse(
                "safety.approval",
                "nobody can look at a message for each customer".to_owned(),
                "set approval = \"when_flagged\": whoever's message is flagged gets their segment's; or mode = \"segment\"",
            );
        }
    }

    fn check_model(&self, problems: &mut Vec<Problem>) {
        let model = &self.generation.model;
        let mut refuse = |key: &str, why: &str, remedy: &str| {
            problems.push(Problem::new(why, remedy).at_field(format!("generation.model.{key}")));
        };
        if model.name.as_ref().is_some_and(|name| !MODEL_CHARS.contains(&name.len()) || !is_model_name(name)) {
            refuse("name", "this is no name of a model or deployment", "copy it from the service's page");
        }
        if model.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
            refuse("temperature", "the temperature must be a number from 0 to 2", "lower ones copy more exactly");
        }
        if model.temperature.is_some() && model.reasoning_effort.is_some() {
            refuse("temperature", "reasoning models take no temperature", "remove it, or reasoning_effort");
        }
        if model.max_output_tokens.is_some_and(|tokens| !OUTPUT_TOKENS.contains(&tokens)) {
            refuse("max_output_tokens", "an answer may have 100 to 100000 tokens", "1500 is enough for an e-mail");
        }
        if model.repairs > 5 {
            refuse("repairs", "a bad answer is given back 5 times at most", "2 is a good number");
        }
    }

    fn check_experiment(&self, problems: &mut Vec<Problem>) {
        let experiment = &self.experiment;
        if experiment.arms.is_empty() {
            problems.push(
                Problem::new("the experiment has no arm", "add at least one [[experiment.arms]]")
                    .at_field("experiment"),
            );
        }
        for (index, arm) in experiment.arms.iter().enumerate() {
            let field = format!("experiment.arms[{index}]");
            if [crate::domain::experiment::CONTROL, crate::domain::experiment::HOLDOUT].contains(&arm.name.as_str()) {
                problems.push(
                    Problem::new(
                        format!("`{}` is the name of a built-in arm", arm.name),
                        "choose another name; `experiment.control` and `experiment.holdout` set their shares",
                    )
                    .at_field(format!("{field}.name")),
                );
            }
            if !WEIGHTS.contains(&arm.weight) {
                problems.push(
                    Problem::new("the weight must be a number from 0.000001 to 1000000", "1.0 gives equal shares")
                        .at_field(format!("{field}.weight")),
                );
            }
        }
        if let Some(twice) = first_duplicate(experiment.arms.iter().map(|arm| &arm.name)) {
            problems.push(
                Problem::new(format!("two arms are called `{twice}`"), "give every arm its own name")
                    .at_field("experiment.arms"),
            );
        }
        if experiment.control.get() + experiment.holdout.get() >= 1.0 {
            problems.push(
                Problem::new(
                    "control and holdout leave no customer for the arms",
                    "their shares must add up to less than 1",
                )
                .at_field("experiment.control"),
            );
        }
        if experiment.primary_metric.trim().is_empty() {
            problems.push(
                Problem::new("the primary metric has no name", "name the 0/1 outcome, e.g. `conversion`")
                    .at_field("experiment.primary_metric"),
            );
        }
        for (name, share) in [("alpha", experiment.alpha), ("power", experiment.power)] {
            if !(MIN_ERROR..=1.0 - MIN_ERROR).contains(&share.get()) {
                problems.push(
                    Problem::new(format!("{name} must lie between 0 and 1"), "usual are alpha = 0.05 and power = 0.8")
                        .at_field(format!("experiment.{name}")),
                );
            }
        }
        if experiment.baseline.is_some_and(|baseline| !(MIN_ERROR..=1.0 - MIN_ERROR).contains(&baseline.get())) {
            problems.push(
                Problem::new("the baseline rate must lie between 0 and 1", "for example baseline = 0.03")
                    .at_field("experiment.baseline"),
            );
        }
        if !LIFTS.contains(&experiment.mde_relative) {
            problems.push(
                Problem::new("mde_relative must be a number from 0.0001 to 1000", "0.10 asks for a lift of 10 %")
                    .at_field("experiment.mde_relative"),
            );
        }
    }

    fn check_run(&self, problems: &mut Vec<Problem>) {
        let run = &self.run;
        if !STAGE_MINUTES.contains(&run.stage_deadline_minutes) {
            problems.push(
                Problem::new("a stage's deadline must be 1 to 10080 minutes (a week)", "1440 is a day")
                    .at_field("run.stage_deadline_minutes"),
            );
        }
        if !APPROVAL_MINUTES.contains(&run.approval_deadline_minutes) {
            problems.push(
                Problem::new("the deadline for approvals must be 1 to 43200 minutes (30 days)", "10080 is a week")
                    .at_field("run.approval_deadline_minutes"),
            );
        }
    }
}

const MODEL_CHARS: RangeInclusive<usize> = 1..=200;
/// Fewer hold no message, and no model gives more.
const OUTPUT_TOKENS: RangeInclusive<u32> = 100..=100_000;

/// Beyond it an arm would get nobody, or everybody.
const WEIGHTS: RangeInclusive<f64> = 1e-6..=1e6;
/// Smaller ones no experiment can find, greater ones no message has.
const LIFTS: RangeInclusive<f64> = 1e-4..=1e3;
/// No experiment has the customers that a smaller chance of error would take, and quantiles lose their digits there.
const MIN_ERROR: f64 = 1e-9;

/// A week: no stage that still works takes longer.
const STAGE_MINUTES: RangeInclusive<u32> = 1..=7 * 24 * 60;
/// After a month, consent and prices are those of another day.
const APPROVAL_MINUTES: RangeInclusive<u32> = 1..=30 * 24 * 60;

/// It may become a part of an address; a name of dots alone would lead elsewhere.
fn is_model_name(name: &str) -> bool {
    name.contains(char::is_alphanumeric) && !name.contains(char::is_control)
}

fn is_attribute_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && ![crate::domain::customer::CUSTOMER_ID, crate::domain::customer::SOURCE_LINE].contains(&name)
}

fn first_duplicate<'a, T: Ord + 'a>(mut items: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let mut seen = std::collections::BTreeSet::new();
    items.find(|item| !seen.insert(*item))
}
