//! The campaign file (`campaign.toml`, the same shape as JSON over HTTP), checked as a whole.
//!
//! What a single value may be is said by its type; what values may be together by [`Campaign::check`]. Rules are
//! compiled where they are understood, in [`crate::agents::segmentation`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::Read as _,
    path::Path,
};

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    config::{day, locate, wording::in_plain_words},
    domain::{
        attribute::{self, Attribute, AttributeType, Attributes},
        channel::Channel,
        id::{ArmName, BlocklistName, CampaignId, Locale, SegmentName},
        money::Usd,
        problem::Problem,
        share::Share,
        variant::Slots,
        verdict::{Harm, Severity, SeverityLevels},
    },
    providers::prices::Prices,
};

/// A campaign as its owner declares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    pub campaign: Identity,
    pub customers: Customers,
    pub segmentation: Segmentation,
    #[serde(default)]
    pub content: Content,
    pub generation: Generation,
    #[serde(default)]
    pub safety: Safety,
    pub experiment: Experiment,
    #[serde(default)]
    pub budget: Budget,
    #[serde(default)]
    pub run: Run,
    #[serde(default, skip_serializing_if = "is_default")]
    pub providers: ProviderNames,
    /// Where they differ from those that ship.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prices: Prices,
}

/// What came after a campaign was frozen is not written where it says nothing: the campaign keeps its digest, by which it is
/// known again.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub id: CampaignId,
    pub name: String,
    /// Consent must cover it.
    #[serde(default = "marketing")]
    pub purpose: String,
    /// The day for which approvals, validity windows and offers are judged; today where absent.
    #[serde(default, deserialize_with = "day::optional")]
    pub date: Option<Date>,
    pub locales: Vec<Locale>,
    /// In order of preference: a customer is reached by the first one that they permit.
    pub channels: Vec<Channel>,
}

fn marketing() -> String {
    "marketing".to_owned()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customers {
    /// The column with the customer's id; `#row` where the file has none: the number of the row, from 1, is the id.
    pub id: String,
    /// Where absent it is read from the file's name and first bytes.
    #[serde(default)]
    pub format: Option<CustomerFormat>,
    /// CSV only; where absent it is read from the header.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// A WHATWG label such as `utf-8`, `windows-1252`, `utf-16le`.
    #[serde(default = "utf_8")]
    pub encoding: String,
    /// The run stops before generation when a larger share of rows is bad.
    #[serde(default = "one_percent")]
    pub max_bad_share: Share,
    /// A file with one customer id a line who may not be contacted; relative to the campaign file.
    #[serde(default)]
    pub suppression: Option<String>,
    /// Our attribute -> their column.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnSpec>,
}

fn utf_8() -> String {
    "utf-8".to_owned()
}

fn one_percent() -> Share {
    Share::new(0.01).expect("0.01 is a share")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerFormat {
    Csv,
    Jsonl,
    Parquet,
}

/// `age = "customer_age"`, or a table that declares a type and limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ColumnSpec {
    Column(String),
    Declared(DeclaredColumn),
}

// By hand: of an untagged enum, serde can only say that no variant fits, not which key of the table is wrong.
impl<'de> Deserialize<'de> for ColumnSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ColumnSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column's name, or a table such as { column = \"age\", type = \"integer\" }")
            }

            fn visit_str<E: de::Error>(self, column: &str) -> Result<ColumnSpec, E> {
                Ok(ColumnSpec::Column(column.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<ColumnSpec, A::Error> {
                DeclaredColumn::deserialize(de::value::MapAccessDeserializer::new(table)).map(ColumnSpec::Declared)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredColumn {
    pub column: String,
    #[serde(rename = "type", default)]
    pub kind: Option<AttributeType>,
    #[serde(default)]
    pub min: Option<f64>,
    #[serde(default)]
    pub max: Option<f64>,
    #[serde(default)]
    pub values: Vec<String>,
    #[serde(default)]
    pub required: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segmentation {
    pub method: SegmentationMethod,
    /// `rules` only: first match wins; the last one needs no condition.
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
    /// `rules` only: what to do when two rules can match the same customer.
    #[serde(default)]
    pub overlap: Overlap,
    /// `kmeans` only: numeric attributes; where empty, every numeric attribute.
    #[serde(default)]
    pub features: Vec<String>,
    /// `kmeans` only: the numbers of clusters to try.
    #[serde(default = "two")]
    pub min_clusters: usize,
    #[serde(default = "eight")]
    pub max_clusters: usize,
}

fn two() -> usize {
    2
}

fn eight() -> usize {
    8
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentationMethod {
    Rules,
    /// Quintiles of `recency_days`, `frequency` and `monetary`.
    Rfm,
    Kmeans,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    #[default]
    FirstWins,
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    pub name: SegmentName,
    /// A CEL expression over the attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// For people, and for retrieval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Content {
    /// Relative to the campaign file.
    pub path: String,
    /// How many passages a segment's messages may draw on.
    pub passages: usize,
}

impl Default for Content {
    fn default() -> Self {
        Self { path: "content/".to_owned(), passages: 12 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    #[serde(default)]
    pub mode: GenerationMode,
    /// Variants written per cell; the first approved one is used.
    #[serde(default = "two")]
    pub candidates: usize,
    /// The same seed writes the same variants.
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub brand: Brand,
    #[serde(default)]
    pub slots: Slots,
    /// In the mode `customer`: the attributes of a customer that whoever writes to them may know. No other leaves the
    /// store.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fields: BTreeSet<String>,
    /// For a language model that writes; the composer needs none of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub model: ModelSpec,
}

/// How a language model is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// The model, on Azure the deployment; `None`: the one that the operator's settings name.
    pub name: Option<String>,
    /// `None`: the model's own.
    pub temperature: Option<f64>,
    /// Of one answer; `None`: 1,500, or 8,000 with a `reasoning_effort`, as reasoning counts.
    pub max_output_tokens: Option<u32>,
    /// How often a bad answer is given back with what is wrong with it.
    pub repairs: u32,
    /// Reasoning models only.
    pub reasoning_effort: Option<ReasoningEffort>,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self { name: None, temperature: None, max_output_tokens: None, repairs: 2, reasoning_effort: None }
    }
}

impl ModelSpec {
    pub fn most_output_tokens(&self) -> u32 {
        self.max_output_tokens.unwrap_or(if self.reasoning_effort.is_some() { 8_000 } else { 1_500 })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEffort {
    Minimal,
    Low,
    Medium,
    High,
}

impl ReasoningEffort {
    /// As the services name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GenerationMode {
    /// One set of variants per segment.
    #[default]
    Segment,
    /// The same, and besides a message for every customer who is to be reached by an arm; where it is not approved, the
    /// customer gets their segment's.
    Customer,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Brand {
    /// How messages are signed.
    pub name: String,
    /// How the brand speaks, for language models.
    pub voice: String,
    /// Words and phrases that may not occur, any case.
    pub banned: Vec<String>,
    /// Per channel, a text that every message must contain word for word.
    pub required: BTreeMap<Channel, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Safety {
    pub block_at: Thresholds,
    pub approval: ApprovalPolicy,
    #[serde(skip_serializing_if = "is_default")]
    pub content_safety: ContentSafety,
}

impl Default for Safety {
    fn default() -> Self {
        Self {
            block_at: Thresholds::default(),
            approval: ApprovalPolicy::WhenFlagged,
            content_safety: ContentSafety::default(),
        }
    }
}

/// What is asked of Azure AI Content Safety, where the campaign names it as its safety provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContentSafety {
    /// 4 or 8.
    pub severity_levels: SeverityLevels,
    /// Lists that are kept there. What one of them lists is blocked.
    pub blocklists: Vec<BlocklistName>,
    /// Look for attacks on language models in passages and messages.
    pub prompt_shields: bool,
    /// Compare messages with what they cite, besides our own gate. A preview of the service.
    pub groundedness: bool,
}

impl Default for ContentSafety {
    fn default() -> Self {
        Self {
            severity_levels: SeverityLevels::default(),
            blocklists: Vec::new(),
            prompt_shields: true,
            groundedness: false,
        }
    }
}

/// A text is blocked at this severity or above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    pub hate: Severity,
    pub sexual: Severity,
    pub violence: Severity,
    pub self_harm: Severity,
}

impl Thresholds {
    pub fn of(&self, harm: Harm) -> Severity {
        match harm {
            Harm::Hate => self.hate,
            Harm::Sexual => self.sexual,
            Harm::Violence => self.violence,
            Harm::SelfHarm => self.self_harm,
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        let two = Severity::new(2).expect("2 is a severity");
        Self { hate: two, sexual: two, violence: two, self_harm: two }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalPolicy {
    /// What the gates do not block goes out.
    Never,
    /// A person must approve what the gates find notable.
    WhenFlagged,
    /// A person must approve every variant.
    Always,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// A 0/1 outcome, e.g. `conversion`.
    pub primary_metric: String,
    /// The share of all customers that gets the control message.
    pub control: Share,
    /// The share of all customers that gets nothing.
    #[serde(default = "no_share")]
    pub holdout: Share,
    #[serde(default = "five_percent")]
    pub alpha: Share,
    #[serde(default = "eighty_percent")]
    pub power: Share,
    /// The smallest lift over control, relative to it, that the test must be able to detect.
    #[serde(default = "ten_percent")]
    pub mde_relative: f64,
    /// The control arm's expected rate of the primary metric, for the power calculation.
    #[serde(default)]
    pub baseline: Option<Share>,
    /// Salts the assignment; the campaign's id where absent. Two campaigns with one salt assign alike.
    #[serde(default)]
    pub salt: Option<String>,
    pub arms: Vec<ArmSpec>,
}

fn no_share() -> Share {
    Share::ZERO
}

fn five_percent() -> Share {
    Share::new(0.05).expect("0.05 is a share")
}

fn eighty_percent() -> Share {
    Share::new(0.8).expect("0.8 is a share")
}

fn ten_percent() -> f64 {
    0.10
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmSpec {
    pub name: ArmName,
    /// How this arm's messages sound.
    pub tone: String,
    /// Relative to the other arms' weights.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// The most the providers may charge; `None`: no limit. The embedded ones charge nothing, so it is only recorded.
    pub max_usd: Option<Usd>,
}

/// When a run is given up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    pub tolerated_failures: ToleratedFailures,
    /// How long one stage may take.
    pub stage_deadline_minutes: u32,
    /// How long a person may take to approve what waits for it.
    pub approval_deadline_minutes: u32,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            tolerated_failures: ToleratedFailures::default(),
            stage_deadline_minutes: 24 * 60,
            approval_deadline_minutes: 7 * 24 * 60,
        }
    }
}

/// The share of a stage's work items that may fail for good; with more, the campaign stops. Of the stages that are not
/// named here none may fail.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToleratedFailures {
    /// Any: a cell without a message falls back to control or holds its customers.
    pub generate: Share,
    /// Any, likewise.
    pub screen: Share,
    /// None: what is written already is kept, and a rewind goes on from there. Of a tolerated shard the customers get
    /// their segment's message.
    #[serde(skip_serializing_if = "is_zero")]
    pub personalize: Share,
    /// None: the customers of a failed shard would get nothing.
    pub deliver: Share,
}

impl Default for ToleratedFailures {
    fn default() -> Self {
        Self { generate: Share::ONE, screen: Share::ONE, personalize: Share::ZERO, deliver: Share::ZERO }
    }
}

/// See [`is_default`].
fn is_zero(share: &Share) -> bool {
    *share == Share::ZERO
}

/// Who answers the agents' questions. Where they are, and the keys to them, are settings of whoever runs the campaign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderNames {
    pub generation: WriterName,
    pub embeddings: EmbedderName,
    pub retrieval: RetrieverName,
    pub safety: ScreenName,
    pub tracking: TrackerName,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriterName {
    /// The composer.
    #[default]
    Embedded,
    AzureOpenai,
    /// Any endpoint that speaks OpenAI's protocol.
    Openai,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderName {
    /// Retrieval is by words alone.
    #[default]
    None,
    AzureOpenai,
    Openai,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrieverName {
    #[default]
    Embedded,
    AzureSearch,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScreenName {
    /// The word list.
    #[default]
    Embedded,
    AzureContentSafety,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackerName {
    /// The run's own files.
    #[default]
    None,
    Mlflow,
}

/// A campaign file is written by a person: what is larger is something else, perhaps without an end.
const MAX_FILE_BYTES: u64 = 4 << 20;

impl Campaign {
    /// Reads and checks a campaign file. Every defect found is reported, with its line.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| format!("the campaign file cannot be read: {error}"))
            .and_then(|_| match bytes.len() as u64 {
                0..=MAX_FILE_BYTES => Ok(()),
                _ => Err("this is more than 4 MiB, and so no campaign file".to_owned()),
            })
            .map_err(|message| {
                let remedy = "name a readable TOML file, or make one with `cpo init DIR`";
                vec![Problem::new(message, remedy).in_file(path)]
            })?;
        let source = String::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            let line = locate::line_of_offset(&valid, valid.len());
            vec![Problem::new("this is not UTF-8 text", "save the file as UTF-8").in_file(path).at_line(line)]
        })?;
        Self::parse(&source, path)
    }

    /// As [`Campaign::read`], from text; `path` is what messages call the file.
    pub fn parse(source: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        let campaign: Self = toml::from_str(source).map_err(|error| {
            let mut problem = Problem::new(
                in_plain_words(error.message()),
                "correct this key; `cpo init` writes a campaign file in which every key is explained",
            )
            .in_file(path);
            problem.line = error.span().map(|span| locate::line_of_offset(source, span.start));
            vec![problem]
        })?;
        let problems = campaign.check();
        if problems.is_empty() {
            return Ok(campaign);
        }
        Err(problems.into_iter().map(|problem| locate::in_toml(problem, source, path)).collect())
    }

    /// Adds file and line to problems that other parts found in a campaign read from `path`.
    pub fn locate(problems: Vec<Problem>, path: &Path) -> Vec<Problem> {
        if problems.is_empty() {
            return problems;
        }
        let source = std::fs::read_to_string(path).unwrap_or_default();
        problems.into_iter().map(|problem| locate::in_toml(problem, &source, path)).collect()
    }

    /// As [`Campaign::parse`], from JSON.
    pub fn from_json(value: serde_json::Value) -> Result<Self, Vec<Problem>> {
        let campaign: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let message = in_plain_words(&error.inner().to_string());
            let problem = Problem::new(message, "correct this key; the file that `cpo init` writes explains every key");
            let field = error.path().to_string();
            vec![if field == "." { problem } else { problem.at_field(field) }]
        })?;
        let problems = campaign.check();
        if problems.is_empty() { Ok(campaign) } else { Err(problems) }
    }

    /// The attributes with types and limits resolved: declared, else well-known, else text.
    pub fn attributes(&self) -> Attributes {
        let resolve = |(name, spec): (&String, &ColumnSpec)| {
            let (known_type, known_min, known_max) =
                attribute::well_known(name).unwrap_or((AttributeType::Text, None, None));
            match spec {
                ColumnSpec::Column(column) => Attribute {
                    name: name.clone(),
                    column: column.clone(),
                    kind: known_type,
                    min: known_min,
                    max: known_max,
                    values: Vec::new(),
                    required: false,
                },
                ColumnSpec::Declared(declared) => {
                    let kind = declared.kind.unwrap_or(known_type);
                    let keeps_range = kind.is_numeric() && known_type.is_numeric();
                    Attribute {
                        name: name.clone(),
                        column: declared.column.clone(),
                        kind,
                        min: declared.min.or(known_min.filter(|_| keeps_range)),
                        max: declared.max.or(known_max.filter(|_| keeps_range)),
                        values: declared.values.clone(),
                        required: declared.required,
                    }
                }
            }
        };
        Attributes::new(self.customers.columns.iter().map(resolve).collect())
    }

    /// What makes assignment hashes differ between campaigns.
    pub fn salt(&self) -> &str {
        self.experiment.salt.as_deref().unwrap_or(self.campaign.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
[campaign]
id = "spring"
name = "Spring"
locales = ["en"]
channels = ["email"]

[customers]
id = "customer_id"
[customers.columns]
age = "age"
tier = "tier"
points = { column = "points", type = "number", min = 0 }

[segmentation]
method = "rules"
[[segmentation.rules]]
name = "Everyone"

[generation.slots]
first_name = { attribute = "first_name", fallback = "there" }

[experiment]
primary_metric = "conversion"
control = 0.25
[[experiment.arms]]
name = "friendly"
tone = "friendly"
"#;

    fn problems(source: &str) -> Vec<Problem> {
        Campaign::parse(source, Path::new("campaign.toml")).expect_err("the file has a defect")
    }

    #[test]
    fn a_minimal_file_is_enough_and_types_are_resolved() {
        let campaign = Campaign::parse(MINIMAL, Path::new("campaign.toml")).unwrap();
        let attributes = campaign.attributes();
        assert_eq!(attributes.get("age").unwrap().kind, AttributeType::Number);
        assert_eq!(attributes.get("age").unwrap().max, Some(130.0));
        assert_eq!(attributes.get("tier").unwrap().kind, AttributeType::Text);
        assert_eq!(attributes.get("points").unwrap().min, Some(0.0));
        assert_eq!(campaign.salt(), "spring");
    }

    #[test]
    fn the_same_shape_is_read_from_json() {
        let campaign = Campaign::parse(MINIMAL, Path::new("campaign.toml")).unwrap();
        let json = serde_json::to_string(&campaign).unwrap();
        assert_eq!(serde_json::from_str::<Campaign>(&json).unwrap(), campaign);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let source = MINIMAL.replace("name = \"Spring\"", "name = \"Spring\"\nnmae = \"x\"");
        let found = problems(&source);
        assert_eq!(found[0].line, Some(5));
        assert!(found[0].message.contains("nmae"), "{}", found[0]);
    }

    #[test]
    fn a_combination_that_cannot_work_names_its_line() {
        let source = MINIMAL.replace("control = 0.25", "control = 0.75\nholdout = 0.25");
        let found = problems(&source);
        assert_eq!(found[0].field.as_deref(), Some("experiment.control"));
        assert_eq!(source.lines().nth(found[0].line.unwrap() as usize - 1), Some("control = 0.75"));

        let source = MINIMAL.replace("name = \"friendly\"", "name = \"control\"");
        assert_eq!(problems(&source)[0].field.as_deref(), Some("experiment.arms[0].name"));
    }

    #[test]
    fn a_date_can_be_toml_s_own_or_a_text() {
        for date in ["2026-11-22", "\"2026-11-22\""] {
            let source = MINIMAL.replace("id = \"spring\"", &format!("id = \"spring\"\ndate = {date}"));
            let campaign = Campaign::parse(&source, Path::new("campaign.toml")).unwrap();
            assert_eq!(campaign.campaign.date, Some(jiff::civil::date(2026, 11, 22)), "{date}");
        }
        let found = problems(&MINIMAL.replace("id = \"spring\"", "id = \"spring\"\ndate = 10:00:00"));
        assert!(found[0].message.contains("a date such as 2026-11-22"), "{}", found[0]);
    }

    #[test]
    fn a_column_that_is_declared_wrongly_says_which_key_is_wrong() {
        for (declared, said) in [
            ("{ column = \"points\", typ = \"number\" }", "`typ`"),
            ("{ column = \"points\", type = \"numbr\" }", "`numbr`"),
            ("{ type = \"number\" }", "`column`"),
            ("5", "a column's name"),
            ("[\"points\"]", "a column's name"),
        ] {
            let source = MINIMAL.replace("{ column = \"points\", type = \"number\", min = 0 }", declared);
            let found = problems(&source);
            assert!(found[0].message.contains(said), "{declared}: {}", found[0]);
            let line = found[0].line.unwrap() as usize;
            assert!(source.lines().nth(line - 1).unwrap().starts_with("points"), "{declared}: {}", found[0]);
        }
    }

    #[test]
    fn a_fallback_that_would_stand_unresolved_in_a_message_is_refused() {
        for fallback in ["{{first_name}}", "a\\nb", &"x".repeat(41), " "] {
            let source = MINIMAL.replace("fallback = \"there\"", &format!("fallback = \"{fallback}\""));
            let found = problems(&source);
            assert_eq!(found[0].field.as_deref(), Some("generation.slots.first_name"), "{fallback}");
        }
    }

    #[test]
    fn a_number_that_no_calculation_can_bear_is_refused() {
        for (from, to, field) in [
            ("control = 0.25", "control = 0.25\nalpha = 5e-324", "experiment.alpha"),
            ("control = 0.25", "control = 0.25\npower = 0.9999999999999999", "experiment.power"),
            ("tone = \"friendly\"", "tone = \"friendly\"\nweight = 1e308", "experiment.arms[0].weight"),
            ("tone = \"friendly\"", "tone = \"friendly\"\nweight = 1e-320", "experiment.arms[0].weight"),
            ("control = 0.25", "control = 0.25\nmde_relative = 1e-300", "experiment.mde_relative"),
            ("control = 0.25", "control = 0.25\nbaseline = 1e-300", "experiment.baseline"),
            ("min = 0 }", "min = nan }", "customers.columns.points"),
        ] {
            let found = problems(&MINIMAL.replace(from, to));
            assert_eq!(found[0].field.as_deref(), Some(field), "{to}");
        }
    }

    #[test]
    fn what_a_run_may_tolerate_is_given_stage_by_stage_and_within_limits() {
        let run = |section: &str| Campaign::parse(&format!("{MINIMAL}\n[run]\n{section}"), Path::new("campaign.toml"));
        assert_eq!(run("").unwrap().run, Run::default());
        let some = run("tolerated_failures = { deliver = 0.01 }\nstage_deadline_minutes = 5").unwrap().run;
        assert_eq!((some.tolerated_failures.deliver.get(), some.tolerated_failures.generate.get()), (0.01, 1.0));
        assert_eq!((some.stage_deadline_minutes, some.approval_deadline_minutes), (5, 10_080));
        for (section, said) in [
            ("stage_deadline_minutes = 0", "run.stage_deadline_minutes"),
            ("stage_deadline_minutes = 10081", "run.stage_deadline_minutes"),
            ("approval_deadline_minutes = 0", "run.approval_deadline_minutes"),
            ("approval_deadline_minutes = 43201", "run.approval_deadline_minutes"),
        ] {
            let found = run(section).unwrap_err();
            assert_eq!(found[0].field.as_deref(), Some(said), "{section}");
            assert!(found[0].line.is_some(), "{section}");
        }
        for section in ["tolerated_failures = { deliver = 1.5 }", "tolerated_failures = { label = 0.5 }"] {
            assert!(run(section).unwrap_err()[0].line.is_some(), "{section}");
        }
    }

    #[test]
    fn writing_to_each_customer_needs_fields_that_there_are_and_no_person_who_looks_at_all_of_it() {
        let problems = |generation: &str, safety: &str| {
            let source = format!("{MINIMAL}\n[generation]\n{generation}\n[safety]\n{safety}");
            let found = Campaign::parse(&source, Path::new("campaign.toml"));
            found.err().unwrap_or_default().into_iter().map(|problem| problem.field.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(problems("mode = \"customer\"\nfields = [\"points\"]", ""), Vec::<String>::new());
        assert_eq!(problems("mode = \"customer\"", ""), ["generation.fields"]);
        assert_eq!(problems("mode = \"customer\"\nfields = [\"points\", \"ponits\"]", ""), ["generation.fields"]);
        assert_eq!(problems("fields = [\"points\"]", ""), ["generation.fields"]);
        let all = "approval = \"always\"";
        assert_eq!(problems("mode = \"customer\"\nfields = [\"points\"]", all), ["safety.approval"]);
        assert_eq!(problems("", all), Vec::<String>::new());
    }

    #[test]
    fn a_model_is_asked_in_ways_that_it_can_answer() {
        let parse = |section: &str| {
            Campaign::parse(&format!("{MINIMAL}\n[generation.model]\n{section}"), Path::new("campaign.toml"))
        };
        assert_eq!(parse("").unwrap().generation.model, ModelSpec::default());
        let reasoning = parse("name = \"o\"\nreasoning_effort = \"low\"").unwrap().generation.model;
        assert_eq!((reasoning.most_output_tokens(), ModelSpec::default().most_output_tokens()), (8_000, 1_500));
        for (section, said) in [
            ("name = \" \"", "generation.model.name"),
            ("name = \"..\"", "generation.model.name"),
            ("temperature = 2.1", "generation.model.temperature"),
            ("temperature = nan", "generation.model.temperature"),
            ("temperature = 1.0\nreasoning_effort = \"low\"", "generation.model.temperature"),
            ("max_output_tokens = 99", "generation.model.max_output_tokens"),
            ("repairs = 6", "generation.model.repairs"),
        ] {
            let found = parse(section).unwrap_err();
            assert_eq!(found[0].field.as_deref(), Some(said), "{section}");
            assert!(found[0].line.is_some(), "{section}");
        }
        assert!(parse("top_p = 1.0").is_err());
    }

    #[test]
    fn what_is_asked_of_content_safety_may_be_left_out_and_what_is_wrong_is_named_with_its_line() {
        let section = |keys: &str| {
            let source = format!("{MINIMAL}\n[safety.content_safety]\n{keys}");
            Campaign::parse(&source, Path::new("campaign.toml")).map(|campaign| campaign.safety.content_safety)
        };
        assert_eq!(section("").unwrap(), ContentSafety::default());
        let some = section("severity_levels = 8\nblocklists = [\"brand\"]\nprompt_shields = false").unwrap();
        assert_eq!(
            (some.severity_levels, some.prompt_shields, some.groundedness),
            (SeverityLevels::Eight, false, false)
        );
        assert_eq!(some.blocklists.len(), 1);
        for (keys, said) in [
            ("severity_levels = 6", "4 severity levels or 8"),
            ("blocklists = [\"a/b\"]", "blocklist name"),
            ("blocklists = [\"..\"]", "blocklist name"),
            ("blocklists = [\"a\", \"a\"]", "`a` is named twice"),
            ("shields = true", "shields"),
        ] {
            let found = section(keys).unwrap_err();
            assert!(found[0].message.contains(said) && found[0].line.is_some(), "{keys}: {}", found[0]);
        }
    }

    #[test]
    fn rfm_says_which_attribute_it_misses() {
        let source = MINIMAL.replace("method = \"rules\"", "method = \"rfm\"");
        let found = problems(&source);
        assert_eq!(found.iter().filter(|p| p.message.contains("needs a numeric attribute")).count(), 3);
        assert!(found.iter().all(|p| p.line.is_some()));
    }
}
